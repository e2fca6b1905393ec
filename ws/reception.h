/*
 * reception - what a visitor wants, and who serves it: the sidecar's routes (spec sections 4 and 5).
 *
 *	/ws/{id}, /ws?topics=	a WebSocket: server_upgrade()
 *	/sse/{id}, /sse?topics=	an event stream, and
 *	/poll/{id}, /poll?topics=	a poll: both an http_socket
 *	anything else		a refusal
 *
 * It reads the head itself because libwebsockets 4.1 refuses a list of subprotocols over 128 bytes, where a browser has
 * to put its token; and so a token never gets into libwebsockets, limits hold from the first byte, and what is no
 * WebSocket gets its documented answer. libwebsockets is given a request of a few fixed headers, made anew.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>

#include "ws/visitor.h"

/*
 * Looks at what has come in, all of it. False: more has to come. True: it was a whole request, which is served, or a
 * bad one, which is refused; the visitor may be no more.
 */
bool reception_serve(struct visitor *v, struct span bytes);
