/*
 * websocket_client - a WebSocket from the other side (RFC 6455): text messages are read, pings answered, nothing said.
 *
 * libcurl connects, with TLS and proxies; the handshake and the frames are read here, since Debian's libcurl has none.
 *
 * Layer    cli.
 * Threads  one at a time.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

struct websocket_client; /* opaque */

/*
 *	url		http: or https:
 *	token		NULL: none
 *	until_ms	of clock_monotonic_ms()
 *	w		out: taken, also when not OK, for websocket_client_problem(); NULL without memory
 *
 * ERR_AWAY     nobody there, or no WebSocket
 * ERR_EVICTED  not until then
 */
enum err websocket_client_open(struct websocket_client **w, const char *url, const char *token,
			       int64_t until_ms) MUST_CHECK;

/*
 * The next message.
 *
 *	message	its bytes replace those that are in it
 *
 * ERR_NOT_FOUND  the server has closed: websocket_client_problem() has its code and reason
 * ERR_AWAY, ERR_EVICTED
 */
enum err websocket_client_read(struct websocket_client *w, int64_t until_ms, struct buf *message) MUST_CHECK;

/* Lent. */
const char *websocket_client_problem(const struct websocket_client *w);

/* Closes with 1000, and waits for no answer. */
void websocket_client_close(struct websocket_client **w);
