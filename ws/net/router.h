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

#include "ws/net/requester.h"

/*
 * Looks at what has come in, all of it. False: more has to come. True: it was a whole request, which is served, or a
 * bad one, which is refused; the requester may be no more.
 */
bool router_serve(struct requester *r, struct span bytes);
