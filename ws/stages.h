/*
 * stages - a session's way: who it is, whether it may, that it is counted, what it missed, and then what comes.
 *
 *	begin -> authenticate -> gate -> stages_attached() -> ledger -> stages_counted() -> catch_up -> the hub
 *			  `-> grace: a poller that comes back in time goes on where it was
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/sidecar/sql_attach.h"
#include "ws/catch_up.h"
#include "ws/node.h"
#include "ws/session.h"

/* What the request said, read by the door. All borrowed. */
struct arrival {
	const struct voice *voice;	   /* what was asked for: a WebSocket, an event stream, a poll */
	const struct selection *selection; /* NULL: for a live endpoint */
	const struct endpoint *endpoint;   /* NULL: the request named topics */
	int64_t timeout_s;		   /* of a poll */
	bool keep_alive;		   /* HTTP: another request may follow */
	const char *allowed_origin;	   /* NULL, or the origin to name in the answer */
	bool inflates;			   /* a WebSocket: permessage-deflate is agreed */
	const char *token;		   /* NULL: none */
	const char *echo_protocol;	   /* NULL, or the subprotocol to name in the answer */
};

/* A socket was upgraded, or asks for a reply that is held. NULL: no memory. */
struct session *stages_begin(struct node *n, const struct transport *transport, void *socket, const struct arrival *a);

/* The socket is gone. */
void stages_end(struct session *s);

/* The socket takes bytes again. */
void stages_writable(struct session *s);

/* It has brought a token. */
void stages_authenticate(struct session *s, const char *token, size_t len);

/* The gate has let it in, or has not. */
void stages_attached(struct subscription *sub, const struct attach_row *row);

void stages_refused(struct subscription *sub, enum err why);

/* The ledger has written down that it is here. */
void stages_counted(struct subscription *sub);

/* The hub's tail has moved on without it. */
void stages_behind(struct subscription *sub);

/* The hub gives it new messages, as frames. */
enum hub_written stages_deliver(struct subscription *sub, const struct delivery *d);

/* From catch_up: a page of what it missed, whose bytes are taken over; and: that was all of it. */
void stages_page(struct subscription *sub, struct page *page);
void stages_caught_up(struct subscription *sub);
