/*
 * arrival - a client whose request has been read becomes a session, and is let in.
 *
 *	arrival_begin()		a place, and a rate, for it; then its kind's begin():
 *	arrival_let_in()	by its token, or as anonymous, or asked who it is
 *	arrival_authenticate()	by a token, now or later
 *
 * Then each of its subscriptions goes its way (subscribe.h). A poller that was here a moment ago goes on where it was.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/net/address.h"
#include "domain/topic/selection.h"
#include "ws/node.h"
#include "ws/session/kind.h"
#include "ws/session/transport.h"

struct endpoint;

/* What the request said. All borrowed. */
struct arrival {
	const struct session_kind
		*kind; /* what was asked for: a WebSocket, an event stream, a poll, a live connection */
	const struct selection *selection; /* NULL: for a live endpoint */
	const struct endpoint *endpoint;   /* NULL: the request named topics */
	int64_t timeout_s;		   /* of a poll */
	bool keep_alive;		   /* HTTP: another request may follow */
	const char *allowed_origin;	   /* NULL, or the origin to name in the answer */
	bool inflates;			   /* a WebSocket: permessage-deflate is agreed */
	const char *token;		   /* NULL: none */
	const char *device;		   /* "": it has no name */
	const char *echo_protocol;	   /* NULL, or the subprotocol to name in the answer */
	struct address client;		   /* behind proxies that are trusted */
	const char *request_id;		   /* that it brings; NULL: none */
};

/* A socket was upgraded, or asks for a reply that is held. NULL: no memory. */
struct session *arrival_begin(struct node *n, const struct transport *transport, void *socket, const struct arrival *a);

/* Of a kind that names topics. */
void arrival_let_in(struct session *s, const struct arrival *a);
void arrival_authenticate(struct session *s, const char *token, size_t len);
