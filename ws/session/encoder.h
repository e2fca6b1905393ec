/*
 * encoder - how a transport says things: the same session, told as WebSocket frames, as server-sent events or as the
 * reply to a poll.
 *
 *	welcome, then what was missed (missed_begin, missed_add …, missed_end), then message after message; at last
 *	goodbye
 *
 * All of them append bytes, ready to be written.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"

struct session;
struct subscription;

struct encoder {
	void (*welcome)(struct buf *out, const struct session *s);
	void (*missed_begin)(struct buf *out, const struct subscription *sub);
	void (*missed_add)(struct buf *out, const struct subscription *sub, bool first, struct span message);
	void (*missed_end)(struct buf *out, const struct subscription *sub);
	/* One message as it comes. */
	void (*message)(struct buf *out, const struct subscription *sub, struct span message);
	/* New messages, as the tail has them; NULL: these frames as they are. */
	void (*deliver)(struct buf *out, const struct subscription *sub, struct span frames);
	/* The answer to what the client has said; NULL: on this transport it cannot say anything. */
	void (*reply)(struct buf *out, struct span text);
	/* Something to keep the connection, and whatever is between, awake. */
	void (*heartbeat)(struct buf *out, const struct session *s);
	/* By the session's close code, reason and status. */
	void (*goodbye)(struct buf *out, const struct session *s);
	/*
	 * Of bytes that this encoder has made, the first place at or after `at` where none of its messages is cut in two.
	 *
	 *	whole	such a place
	 */
	size_t (*whole_after)(struct span bytes, size_t whole, size_t at);
	bool heartbeat_is_a_message; /* which its client waits for, whatever else it is told */
};
