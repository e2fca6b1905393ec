/*
 * subscribe - a session's way: who it is, whether it may, that it is counted, what it missed, and then what comes.
 *
 *	begin -> authenticate -> authorizer -> subscribe_attached() -> presence -> subscribe_counted() -> backfill -> the hub
 *			  `-> parked_polls: a poller that comes back in time goes on where it was
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/calls.h"
#include "ws/deliver/backfill.h"
#include "ws/node.h"
#include "ws/session/session.h"

/* What the request said, read by the acceptor. All borrowed. */
struct arrival {
	const struct encoder *encoder;	   /* what was asked for: a WebSocket, an event stream, a poll */
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
struct session *subscribe_begin(struct node *n, const struct transport *transport, void *socket,
				const struct arrival *a);

/* The socket is gone. */
void subscribe_end(struct session *s);

/* An HTTP reply is out, to its end. A poller may come back, and then goes on where it was. */
void subscribe_reply_out(struct session *s);

/* The socket takes bytes again. True: the last of them has left, and the session is over. */
bool subscribe_writable(struct session *s);

/* It has brought a token. */
void subscribe_authenticate(struct session *s, const char *token, size_t len);

/* The authorizer has let it in, or has not. */
void subscribe_attached(struct subscription *sub, const struct attach_row *row);

void subscribe_refused(struct subscription *sub, enum err why);

/* The presence has written down that it is here. */
void subscribe_counted(struct subscription *sub);

/* What the hub asks of subscriptions, and tells; its context is the node. */
extern const struct hub_ops subscribe_hub_ops;

/* The hub's tail has moved on without it. */
void subscribe_behind(struct subscription *sub);

/* The hub gives it new messages, as frames. */
enum hub_written subscribe_deliver(struct subscription *sub, const struct delivery *d);

/* From backfill: a page of what it missed, whose bytes are taken over; and: that was all of it. */
void subscribe_page(struct subscription *sub, struct page *page);
void subscribe_caught_up(struct subscription *sub);
