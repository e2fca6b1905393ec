/*
 * transport - what carries a session's bytes: a WebSocket of libwebsockets, or a plain socket on which an HTTP reply is
 * written.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/defs.h"

struct transport {
	/*
	 * Takes bytes: how many, or -1 when the socket is broken.
	 *
	 *	full	out: no more now; subscribe_writable() is called when it takes some again
	 */
	ssize_t (*write)(void *socket, struct span bytes, bool *full);
	/* Bytes that were taken, and have not left for the client: the kernel's own count. */
	int64_t (*queued)(void *socket);
	/* Have subscribe_writable() called when it takes bytes. */
	void (*want_writable)(void *socket);
	/* Breaks the connection: subscribe_end() is called later. */
	void (*shut)(void *socket);
};

/* What a function `queued` says of a socket; 0 where the kernel does not tell. */
int64_t transport_queued(int fd);
