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
	const struct voice *voice; /* what was asked for: a WebSocket, an event stream, a poll */
	int64_t diagnosis_id;
	int64_t timeout_s;	    /* of a poll */
	bool keep_alive;	    /* HTTP: another request may follow */
	const char *allowed_origin; /* NULL, or the origin to name in the answer */
	const char *token;	    /* NULL: none */
	const char *cursor;	    /* NULL: none */
	const char *echo_protocol;  /* NULL, or the subprotocol to name in the answer */
};

/* A socket was upgraded, or asks for a reply that is held. NULL: no memory. */
struct session *stages_begin(struct node *n, const struct transport *transport, void *socket, const struct arrival *a);

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

/* The hub gives it new messages, as frames. False: it takes no more now. */
bool stages_deliver(struct session *s, struct span frames);

/* catch_up's two questions. */
void stages_page(struct session *s, struct buf *page);
bool stages_caught_up(struct session *s);
