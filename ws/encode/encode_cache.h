/*
 * encode_cache - what one topic's subscribers are told, put into words once for all of them.
 *
 * A WebSocket gets the tail's frames as they are. An event stream and a poll are told the same messages in other bytes,
 * which are nearly always the same bytes for everybody who listens to that topic alone. So the last that were made are
 * kept, with all that they were made of.
 *
 * Layer    ws.
 * Memory   one delivery's bytes, twice, for each encoder.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "ws/session/subscription.h"

struct encode_cache; /* opaque */

enum err encode_cache_new(struct encode_cache **e) MUST_CHECK;
void encode_cache_free(struct encode_cache **e);

/*
 * These frames in the words of the subscription's encoder; `last` is the encode_cache of that encoder. Lent, valid until the
 * next call; .bytes NULL: no memory.
 */
struct span encode_cache_bytes(struct encode_cache *last, const struct subscription *sub, struct span frames);
