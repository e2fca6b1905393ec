/*
 * extension - the extensions of WebSocket that a client offers, and what we agree to (RFC 6455, section 9.1): permessage-deflate.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>

#include "base/defs.h"

/* What we answer to an offer that we take. */
#define EXTENSION_DEFLATE_AGREED "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

/*
 * Is there, in the list of extensions that a client offers (Sec-WebSocket-Extensions), one that EXTENSION_DEFLATE_AGREED answers?
 * Not where it wants a smaller window than ours, or says what RFC 7692, section 7.1 does not know.
 */
bool extension_deflate_offered(struct span extensions);
