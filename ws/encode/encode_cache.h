/*
 * encode_cache - what one topic's subscribers are told, put into words once for all of them.
 *
 * A WebSocket gets the tail's frames as they are. An event stream and a poll are told the same messages in other bytes,
 * which are nearly always the same bytes for everybody who listens to that topic alone. So the last that were made are
 * kept, with all that they were made of.
 *
 * Layer    ws.
 * Memory   one delivery's bytes, twice, for each voice.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "ws/session/subscription.h"

struct edition; /* opaque */

enum err edition_new(struct edition **e) MUST_CHECK;
void edition_free(struct edition **e);

/*
 * These frames in the words of the subscription's voice; `last` is the edition of that voice. Lent, valid until the
 * next call; .bytes NULL: no memory.
 */
struct span edition_bytes(struct edition *last, const struct subscription *sub, struct span frames);
