/*
 * handshake - the server's answer to a WebSocket upgrade (RFC 6455, section 4.2.2).
 *
 * Layer    domain.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"

/*
 * Appends the reply 101.
 *
 *	key		Sec-WebSocket-Key of the request
 *	protocol	the subprotocol to name; NULL: none
 *	extensions	those agreed to; NULL: none
 *	request_id	that the request brought; NULL: none
 */
void handshake_add(struct buf *out, struct span key, const char *protocol, const char *extensions,
		   const char *request_id);
