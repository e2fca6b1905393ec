/*
 * websocket - WebSockets: the sockets are libwebsockets', raw, on our libuv loop; frames are read by domain/websocket/frame_reader and
 * written by the sessions.
 *
 * libwebsockets carries them raw because its own reader (4.1, 4.3) takes frames that are not masked, answers only the first
 * of several pings, sends bad closes back, reads on behind a close, and keeps a buffer for each connection.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"
#include "ws/subscribe/arrival.h"

#define WEBSOCKET_PROTOCOL "tidings" /* the subprotocol that we name when a client offers it */

struct websockets; /* opaque: libwebsockets' context */

/*
 * Raises the limit of descriptors to what so many connections need.
 *
 * ERR_SYSTEM  the limit cannot be raised so far, or no context: the libuv event library of libwebsockets is missing, most
 *             likely; logged
 */
enum err websockets_new(struct websockets **w, uv_loop_t *loop, size_t connections_max) MUST_CHECK;
void websockets_free(struct websockets **w);

/* Of libwebsockets. Static. */
const char *websockets_library_version(void);

/*
 * Makes a session of a socket that asked for a WebSocket, and answers it.
 *
 *	fd	taken
 *	key	Sec-WebSocket-Key of the request
 *	early	what came behind the request: its first frames; unmasked where it is
 */
void websocket_upgrade(struct node *n, int fd, const struct arrival *a, struct span key, struct buf *early);
