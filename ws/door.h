/*
 * door - the sidecar's port: accepts sockets, reads the head of each request, and hands WebSockets to libwebsockets.
 *
 * It reads the head itself because libwebsockets 4.1 refuses a list of subprotocols over 128 bytes, where a browser has to put its
 * token; and so a token never gets into libwebsockets, limits and deadlines hold from the first byte, and what is no WebSocket
 * gets its documented answer. libwebsockets is given a request of a few fixed headers, made anew.
 *
 *	accepted -> head read -> server_upgrade()	a session: a WebSocket
 *			      -> http_socket		a session: an event stream, or a poll
 *			     `-> an answer, then closed	anything else
 *
 * Layer    ws.
 * Memory   at most VISITORS_MAX at a time, each the bytes of its head.
 */
#pragma once

#include "ws/node.h"

/*
 * Binds the port; who comes waits in the kernel until door_open().
 *
 * ERR_SYSTEM  the port is taken, or not allowed: logged
 */
enum err door_new(struct door **d, struct node *n) MUST_CHECK;
void door_free(struct door **d);

/* Accepts connections from now on. */
void door_open(struct door *d);

/* No new connections from now on. */
void door_shut(struct door *d);

/* Now and then: who takes too long is sent away. */
void door_check(struct door *d, int64_t now_ms);
