/*
 * door - the sidecar's port: accepts sockets, and has their requests read.
 *
 *	accepted -> a visitor -> reception: a session, or a refusal
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
