/*
 * http_transport - a client's socket while the reply to its request is held or streamed: long-poll and server-sent events.
 *
 * No header table and no thread: a client_socket in the loop, and the session that is written to it. When the reply to a poll
 * is out, the socket is a requester's again.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/loop/requester.h"
#include "ws/subscribe/arrival.h"

/*
 * Makes a session of a request whose reply is held.
 *
 *	r	taken
 *	a	keep_alive: another request may follow: what comes meanwhile is its beginning, of which a little is read. Else what
 *		comes is thrown away
 */
void http_transport_hold(struct requester *r, const struct arrival *a);
