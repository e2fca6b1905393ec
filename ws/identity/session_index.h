/*
 * session_index - finds those of a node: all of them, by connection id, and by user.
 *
 * Who is told to go is one connection, or those of one user: an order costs what it is about, and not all that are here.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>

#include "domain/text/uuid.h"
#include "ws/node.h"

/* More have a place than TIDINGS_CONNECTIONS_MAX: those that are being closed have none. */
bool session_index_is_over(const struct node *n);

/* NULL: there is none. */
struct session *session_index_find(const struct node *n, const struct uuid *id);

/* A walk over the sessions of one user. What it returns may be closed meanwhile, not ended. */
struct session_walk {
	const struct node *node;
	const char *user_id;
	struct session *next;
	bool live; /* it has come to those of the live endpoints */
};

/*
 * The first and the next; NULL: no more.
 *
 *	user_id	borrowed for the walk; "": those without a user; NULL: all
 */
struct session *session_index_first(struct session_walk *w, const struct node *n, const char *user_id);
struct session *session_index_next(struct session_walk *w);
