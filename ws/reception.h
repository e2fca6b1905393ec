/*
 * reception - what a visitor wants, and who serves it: the sidecar's routes (spec sections 4 and 5).
 *
 *	/ws/{id}, /ws?topics=	a WebSocket: server_upgrade()
 *	/sse/{id}, /sse?topics=	an event stream, and
 *	/poll/{id}, /poll?topics=	a poll: both an http_socket
 *	anything else		a refusal
 *
 * It reads the head itself: so limits hold from the first byte, and what is no WebSocket gets its documented answer.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>

#include "ws/visitor.h"

enum reception {
	RECEPTION_SERVED, /* a whole request, or a bad one, which was refused: the visitor may be no more */
	RECEPTION_PART,	  /* more has to come */
	RECEPTION_LATER,  /* without a good token, as too many have come: to be served again, from the beginning */
};

/* Looks at what has come in, all of it. */
enum reception reception_serve(struct visitor *v, struct span bytes) MUST_CHECK;

/* Refuses the request in v->in, whose turn has not come in time. */
void reception_refuse_late(struct visitor *v);
