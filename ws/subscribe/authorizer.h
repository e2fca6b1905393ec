/*
 * authorizer - asks the database whether sessions may have their topics: as many as have gathered, in one call.
 *
 * Layer    ws.
 */
#pragma once

#include "store/calls.h"
#include "ws/node.h"
#include "ws/session/session.h"

/*
 *	attached	called for each subscription that is let in
 *	refused		for the others: ERR_FORBIDDEN, ERR_NOT_FOUND, or the database did not answer
 */
enum err authorizer_new(struct authorizer **a, struct node *n,
			void (*attached)(struct subscription *sub, const struct attach_row *row),
			void (*refused)(struct subscription *sub, enum err why)) MUST_CHECK;
void authorizer_free(struct authorizer **a);

/* The database is there: for the question, and for the messages of who is let in. */
bool authorizer_can_ask(const struct authorizer *a);

/* Answers later. */
void authorizer_ask(struct authorizer *a, struct subscription *sub);
