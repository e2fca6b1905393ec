/*
 * act_reply - the message that tidings.act() replied, as the body of an HTTP reply (spec section 3.3).
 *
 * Layer    domain.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

/*
 * Appends the answer to a broadcast: what was published, and the ids of what tidings.act() replied.
 *
 *	reply	the whole message: {"type":…,"data":{…},…}
 *	topic	"": it has none yet
 *	seq	0: it has none
 *
 * ERR_INPUT  it is no such message
 */
enum err act_reply_write_broadcast(struct buf *out, struct span reply, const char *topic, int64_t seq,
				   int64_t clients) MUST_CHECK;

/* Appends the `data` of such a reply. */
enum err act_reply_write_data(struct buf *out, struct span reply) MUST_CHECK;
