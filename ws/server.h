/*
 * server - WebSockets: the sockets are libwebsockets', raw, on our libuv loop; frames are read by domain/websocket/frame_reader and
 * written by the sessions.
 *
 * libwebsockets carries them raw because its own reader (4.1, 4.3) takes frames that are not masked, answers only the first
 * of several pings, sends bad closes back, reads on behind a close, and keeps a buffer for each connection.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"
#include "ws/stages.h"

#define SERVER_PROTOCOL "tidings" /* the subprotocol that we name when a client offers it */

/* ERR_SYSTEM  no context: the libuv event library of libwebsockets is missing, most likely */
enum err server_new(struct node *n) MUST_CHECK;
void server_free(struct node *n);

/*
 * Makes a session of a socket that asked for a WebSocket, and answers it.
 *
 *	fd	taken
 *	key	Sec-WebSocket-Key of the request
 *	early	what came behind the request: its first frames; unmasked where it is
 */
void server_upgrade(struct node *n, int fd, const struct arrival *a, struct span key, struct buf *early);
