/*
 * tail - the newest messages of one topic, ready to send.
 *
 * A message that fans out to 10,000 clients is encoded once. So each topic that someone listens to keeps its newest
 * messages as finished WebSocket frames, back to back; a subscriber is nothing but a seq: whatever lies after it is what
 * it still has to get, and goes out in one write.
 *
 *	fetched from the database -> tail_append()		in seq order, no holes
 *	a subscriber can be written to -> tail_after()		everything after its seq, at most so many bytes
 *
 * A few messages are for one user only, or for all but one connection. They lie in the tail as the others do;
 * tail_after() passes over what is not for the reader, or of a type that the reader does not want, and over what has expired. A message that had expired when it was
 * fetched has a seq and no bytes.
 *
 * Layer    domain: no socket, no I/O; the caller says what time it is.
 * Threads  none: the event loop's.
 * Memory   at most bytes_max of frames, compressed ones included; the oldest messages leave first. A seq older than the
 *          tail is ERR_EVICTED: ask the database.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "domain/topic/message.h"
#include "domain/websocket/deflate.h"

struct tail; /* opaque */

/*
 * The tail begins empty, after `seq`.
 *
 *	deflater	borrowed; NULL: nothing is compressed
 */
enum err tail_new(struct tail **t, uint64_t seq, size_t bytes_max, struct deflater *deflater) MUST_CHECK;
void tail_free(struct tail **t);

/* The seq of the newest message that was appended (or that it began after). */
uint64_t tail_seq(const struct tail *t);

/* The oldest seq that tail_after() can start from: 0 or what lies just before the oldest message kept. */
uint64_t tail_floor(const struct tail *t);

/* Memory in use, in bytes. */
size_t tail_size(const struct tail *t);

/*
 * Adds the message after tail_seq(); its body is framed, with its seq in front.
 *
 * ERR_MEMORY  it was not added; older ones may have left
 */
enum err tail_append(struct tail *t, const struct stored_message *m) MUST_CHECK;

/*
 * There is a reader that inflates: messages that come are compressed as well, once, until none has read for a while.
 * What came before goes out as it is.
 */
void tail_compress(struct tail *t);

/* Forgets all messages; goes on after `seq`, which is not before tail_seq(). */
void tail_forget(struct tail *t, uint64_t seq);

/* What a reader is given in one write. */
struct delivery {
	struct span bytes; /* whole frames, perhaps none; lent until the next tail_append() or tail_forget() */
	uint64_t last;	   /* the seq up to which the reader then has everything */
	unsigned count;	   /* messages in `bytes` */
	bool private;	   /* bytes hold exactly one message, for this user alone */
	/* Messages up to `last` that the reader may have, and does not want: the first and the last. 0: there are none. */
	uint64_t withheld_from, withheld_to;
	int64_t age_ms; /* since the first of them was published; negative: not known */
};

/*
 * The frames after `seq` that are for `reader` and have not expired, at most max_bytes, never half a frame (one frame
 * that is larger comes alone).
 *
 *	d	out: d->last is `seq` when there is nothing new
 *
 * ERR_EVICTED  seq + 1 is no longer kept: the caller reads from the database, or reports the hole
 */
enum err tail_after(const struct tail *t, uint64_t seq, const struct reader *reader, int64_t now_ms, size_t max_bytes,
		    struct delivery *d) MUST_CHECK;

/* One kept message, for transports that are not WebSocket. */
struct tail_text {
	struct span text;   /* JSON: its frame without the header; lent as above; empty when it is not for the reader */
	int64_t expires_ms; /* 0: never */
	bool private;	    /* it is for this user alone */
	bool withheld;	    /* text is empty because the reader does not want this type */
};

struct tail_text tail_message(const struct tail *t, uint64_t seq, const struct reader *reader, int64_t now_ms);
