/*
 * http_transport - a client's socket while the reply to its request is held or streamed: long-poll and server-sent events.
 *
 * No header table and no thread: a client_socket in the loop, and who is to be told.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/loop/client_socket.h"
#include "ws/session/session.h"
#include "ws/session/transport.h"

struct http_transport; /* opaque */

struct http_transport_ops {
	void (*writable)(struct session *s);
	/* The client, or its network, is gone: the socket is freed when this returns. */
	void (*gone)(struct session *s);
};

/* The functions of struct transport, for a struct http_transport. */
ssize_t http_transport_write(void *socket, struct span bytes, bool *full);
int64_t http_transport_queued(void *socket);
void http_transport_want_writable(void *socket);
void http_transport_shut(void *socket);

/*
 *	socket		taken; closed on failure
 *	keeps_early	another request may follow: what comes meanwhile is its beginning, of which a little is read. Else
 *			what comes is thrown away
 *	ops		borrowed, for good; called once there is a session
 */
enum err http_transport_new(struct http_transport **h, struct client_socket *socket, bool keeps_early,
			    const struct http_transport_ops *ops) MUST_CHECK;
void http_transport_serve(struct http_transport *h, struct session *s);

/*
 * Ends it: the socket is the caller's again.
 *
 *	early	out: what the client has sent meanwhile, its next request; taken
 */
struct client_socket *http_transport_release(struct http_transport **h, struct buf *early);
