/*
 * inflate - reads the WebSocket messages that clients compress (RFC 7692, permessage-deflate, no context taken over).
 *
 * A message is inflated when all of it is there, and no further than it may be long: so a connection keeps no
 * decompressor, and a few bytes that stand for many cost no more than a message.
 *
 * Layer    domain.
 * Threads  none: the event loop's.
 * Memory   about 40 KB for an inflater, however many connections there are.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

/* How many bytes a message may come in whose text may have `text_max`: what does not get shorter gets a little longer.
 */
size_t inflate_packed_max(size_t text_max);

struct inflater; /* opaque */

enum err inflater_new(struct inflater **i) MUST_CHECK;
void inflater_free(struct inflater **i); /* NULL is fine */

/*
 * Appends the text of one message.
 *
 *	packed	its payload, of all its frames
 *
 * ERR_INPUT      damaged
 * ERR_TOO_LARGE  the text has more than text_max bytes
 */
enum err inflater_add_text(struct inflater *i, struct buf *out, struct span packed, size_t text_max) MUST_CHECK;
