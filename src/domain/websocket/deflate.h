/*
 * deflate - WebSocket messages compressed once for everyone (RFC 7692, permessage-deflate).
 *
 * Each message is compressed by itself, with no context taken over from the one before: so the bytes are the same for
 * all who take it, and a connection keeps no compressor. A message that would not get shorter goes as it is, which the
 * extension lets every message do.
 *
 * Layer    domain.
 * Threads  none: the event loop's.
 * Memory   about 150 KB for a deflater, however many connections there are.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

struct deflater; /* opaque */

enum err deflater_new(struct deflater **d) MUST_CHECK;
void deflater_free(struct deflater **d); /* NULL is fine */

/* Appends the text as one whole text frame. `out` fails when there is no memory. */
void deflater_add_frame(struct deflater *d, struct buf *out, struct span text);
