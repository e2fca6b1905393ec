/*
 * http_probe - whether an HTTP server answers at all, and whether it says that it is ready.
 *
 * A server that hangs still has connections made for it by the kernel, each of which waits in its queue. So the probe that
 * got no answer keeps its connection, and the next one waits on that for the answer. One that came between the two is of
 * then, and is not taken for an answer of now.
 *
 * Layer    base.
 * Threads  one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

struct http_probe {
	const char *path;    /* borrowed: of a unix socket; NULL or empty: by address and port */
	const char *address; /* borrowed: numeric; one that means all addresses is this machine */
	int64_t port;
	int fd; /* of the connection that is waited on; -1: none */
	bool asked;
	bool ready; /* the last answer was a 200 */
};

/* Connects to nothing yet. */
void http_probe_init(struct http_probe *p, const char *path, const char *address, int64_t port);

/*
 * Asks for /health/ready.
 *
 * ERR_AWAY  nobody is there, or says anything within wait_ms
 */
enum err http_probe_run(struct http_probe *p, int64_t wait_ms) MUST_CHECK;

void http_probe_close(struct http_probe *p);
