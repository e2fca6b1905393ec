/*
 * server - libwebsockets: a context on our libuv loop, and its callbacks translated into calls of stages.
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
 * Makes a session of a socket that asked for a WebSocket.
 *
 *	fd	taken
 *	request	an upgrade request, whole, and what came behind it
 */
void server_upgrade(struct node *n, int fd, const struct arrival *a, struct span request);
