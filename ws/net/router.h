/*
 * router - what a requester wants, and who serves it: the sidecar's routes (spec sections 4 and 5).
 *
 *	/ws/{id}, /ws?topics=	a WebSocket: websocket_upgrade()
 *	/sse/{id}, /sse?topics=	an event stream, and
 *	/poll/{id}, /poll?topics=	a poll: both an http_transport
 *	anything else		a refusal
 *
 * It reads the head itself: so limits hold from the first byte, and what is no WebSocket gets its documented answer.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>

#include "ws/loop/requester.h"

enum router_result {
	ROUTER_SERVED, /* a whole request, or a bad one, which was refused: the requester may be no more */
	ROUTER_PART,   /* more has to come */
	ROUTER_LATER,  /* without a good token, as too many have come: to be served again, from the beginning */
};

/* Looks at what has come in, all of it. */
enum router_result router_serve(struct requester *r, struct span bytes) MUST_CHECK;

/* Refuses the request in r->in, whose turn has not come in time. */
void router_refuse_late(struct requester *r);
