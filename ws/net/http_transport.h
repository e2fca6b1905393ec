/*
 * http_transport - a client's socket while the reply to its request is held or streamed: long-poll and server-sent events.
 *
 * No header table and no thread: a line in the loop, and who is to be told.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/loop/client_socket.h"
#include "ws/session/session.h"
#include "ws/session/transport.h"

struct http_socket; /* opaque */

struct http_socket_ops {
	void (*writable)(struct session *s);
	/* The client, or its network, is gone: the socket is freed when this returns. */
	void (*gone)(struct session *s);
};

/* The functions of struct transport, for a struct http_socket. */
ssize_t http_socket_write(void *socket, struct span bytes, bool *full);
int64_t http_socket_queued(void *socket);
void http_socket_want_writable(void *socket);
void http_socket_shut(void *socket);

/*
 *	line		taken; closed on failure
 *	keeps_early	another request may follow: what comes meanwhile is its beginning, of which a little is read. Else
 *			what comes is thrown away
 *	ops		borrowed, for good; called once there is a session
 */
enum err http_socket_new(struct http_socket **h, struct line *line, bool keeps_early,
			 const struct http_socket_ops *ops) MUST_CHECK;
void http_socket_serve(struct http_socket *h, struct session *s);

/*
 * Ends it: the line is the caller's again.
 *
 *	early	out: what the client has sent meanwhile, its next request; taken
 */
struct line *http_socket_release(struct http_socket **h, struct buf *early);
