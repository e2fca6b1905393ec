/*
 * stages - a session's way: who it is, whether it may, that it is counted, what it missed, and then what comes.
 *
 *	begin -> authenticate -> gate -> stages_attached() -> ledger -> stages_counted() -> catch_up -> the hub
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/calls.h"
#include "ws/node.h"
#include "ws/session.h"

/* What the request said, read by the door. All borrowed. */
struct arrival {
	int64_t diagnosis_id;
	const char *token;	   /* NULL: none */
	const char *cursor;	   /* NULL: none */
	const char *echo_protocol; /* NULL, or the subprotocol to name in the answer */
};

/* A socket was upgraded. NULL: no memory. */
struct session *stages_begin(struct node *n, struct lws *wsi, const struct arrival *a);

/* The socket is gone. */
void stages_end(struct session *s);

/* The socket takes bytes again. */
void stages_writable(struct session *s);

/* Part of a message, or the rest of it. */
void stages_receive(struct session *s, const void *bytes, size_t len, bool final, bool binary);

/* The gate has let it in. */
void stages_attached(struct session *s, const struct attach_row *row);

/* The ledger has written down that it is here. */
void stages_counted(struct session *s);

/* The hub's tail has moved on without it. */
void stages_behind(struct session *s);
