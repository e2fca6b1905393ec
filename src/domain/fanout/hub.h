/*
 * hub - who listens to what on this node, and how a new message reaches them all.
 *
 * A subscriber is a cursor into its topic's tail. A message makes every subscriber that had everything due; hub_run()
 * writes to those that are due, in slices, so that a topic with 15,000 subscribers delays neither the loop nor a topic
 * with one. A subscriber whose transport took not all waits until the transport is writable, and then gets whatever has
 * gathered, in one write. Where the tail has moved on meanwhile, its owner reads from the database until the subscriber
 * is back within the tail.
 *
 *	hub_join(seq) -> SUB_READY: current, it has everything -- message --> due, it lacks something -- hub_run() --> current
 *	SUB_READY -- its transport takes no more --> SUB_WAITING -- hub_writable() --> SUB_READY, or still SUB_WAITING
 *	hub_join(seq), more than the tail has -> SUB_AHEAD -- hub_append() --> SUB_READY
 *	any -- the tail has no longer what comes next --> SUB_OUT, ops.behind() -- read from the database --> hub_join(seq)
 *
 * Layer    domain: writing is a function of the owner's; no socket; the caller says what time it is (now_ms), for what
 *          expires (stored_message.expires_ms).
 * Threads  none: the event loop's.
 * Memory   subscribers are their owners'; all tails together at most tails_max (the longest unused tail is forgotten
 *          first).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "domain/fanout/hub_topic.h"

struct hub;

/* What became of a write. */
enum hub_written {
	HUB_SENT,      /* all of it has left for the client, who can take more */
	HUB_SENT_LAST, /* all of it has left; no more until the owner calls hub_writable() (or hub_leave()) */
	HUB_KEPT,      /* not all of it has left: the owner says when, by hub_delivered(); no more until then */
};

/* What its owner does. `context` is the owner's, from hub_new(). */
struct hub_ops {
	/* Writes whole frames of messages, or of an ephemeral one (d->last is 0), to the subscriber's peer. */
	enum hub_written (*write)(void *context, struct subscriber *s, const struct delivery *d);
	/* It is the next in its topic's turn. With many, none of them is in the CPU's cache when it comes to it. */
	void (*soon)(void *context, struct subscriber *s);
	/* The subscriber is out, at its seq: the tail no longer has what comes next. */
	void (*behind)(void *context, struct subscriber *s);
	/* topic->delivered_seq has grown. */
	void (*delivered)(void *context, struct hub_topic *topic);
	/* A message for one user alone has left for that user. */
	void (*delivered_private)(void *context, struct hub_topic *topic, uint64_t seq);
	/* hub_revoke() */
	void (*revoked)(void *context, struct hub_topic *topic, const char *user_id, uint64_t seq);
	/* Microseconds on a clock, and how long it took to write what was new in a topic to so many subscribers. NULL, both:
	 * nothing is measured. */
	int64_t (*clock_us)(void *context);
	void (*fanned_out)(void *context, unsigned subscribers, int64_t took_us);
};

#define HUB_WRITE_MAX 65536 /* bytes in one write, one larger frame aside */

/*
 *	context		borrowed
 *	deflater	borrowed; NULL: nothing is compressed, and no reader inflates
 */
enum err hub_new(struct hub **h, const struct hub_ops *ops, void *context, size_t tail_max_bytes,
		 size_t tails_max_bytes, struct deflater *deflater) MUST_CHECK;
void hub_free(struct hub **h); /* every topic must have been let go */

struct hub_topic *hub_find(const struct hub *h, int64_t id);

/* Any topic, and the next one: to go through all. */
struct hub_topic *hub_first(const struct hub *h);
static inline struct hub_topic *hub_next(const struct hub_topic *t)
{
	return t->hh.next;
}

size_t hub_topics(const struct hub *h);

/* Memory of all tails. */
size_t hub_tails_bytes(const struct hub *h);

/*
 * The topic, held; made if nobody holds it yet, its tail then empty after last_seq. Let go by hub_let_go().
 *
 * ERR_CONFLICT  it is here with another epoch: it must be retired first
 */
enum err hub_hold(struct hub *h, struct hub_topic **t, int64_t id, const char *name, const char *epoch,
		  uint64_t last_seq, uint64_t delivered_seq) MUST_CHECK;
void hub_let_go(struct hub *h, struct hub_topic *t);

/*
 * The topic's numbering is not the database's any more: it is found no more, so that it can be held anew, and nothing is
 * fetched for it. Its holders are to let it go.
 */
void hub_retire(struct hub *h, struct hub_topic *t);

/* The database has, or may have, something new. Nothing happens for a topic that nobody holds. */
void hub_ring(struct hub *h, int64_t id);

/* Takes the topics that were rung, at most so many. Returns how many. */
size_t hub_take_rung(struct hub *h, struct hub_topic **topics, size_t max);

/* The subscriber has everything up to s->seq and wants what comes; where the tail can't serve it, behind() is called
 * before it returns. */
void hub_join(struct hub *h, struct subscriber *s);

/* Takes it out of whichever list it is on; fine when it is out. */
void hub_leave(struct subscriber *s);

/* Its owner has written to it by other means, and its transport takes nothing more now: WAITING, where it was READY. */
void hub_wait(struct hub *h, struct subscriber *s);

/* Its transport can take bytes again: one write, and what is left is for hub_run(). */
void hub_writable(struct hub *h, struct subscriber *s, int64_t now_ms);

/* It is served before its turn: all that it lacks, as far as it can take it now. */
void hub_serve(struct hub *h, struct subscriber *s, int64_t now_ms);

/*
 * A message from the database, the one after tail_seq(). One further ahead means that what lies between is kept nowhere
 * any more: the tail is forgotten, and who lacks it is behind.
 */
enum err hub_append(struct hub *h, struct hub_topic *t, const struct stored_message *m) MUST_CHECK;

/*
 * The message `seq` of the topic, which comes next, ends a right: the owner is told before it is appended. The topic may be
 * let go meanwhile.
 *
 *	user_id	"": whoever has no token; NULL: everybody
 */
void hub_revoke(struct hub *h, struct hub_topic *t, const char *user_id, uint64_t seq);

/* Writes to at most so many subscribers that are due, topic by topic in turn. True: there are more. */
bool hub_run(struct hub *h, unsigned writes_max, int64_t now_ms);

/* Is somebody due? */
bool hub_is_busy(const struct hub *h);

/*
 * What a write kept, or what was sent by other means, has left for the client.
 *
 *	up_to		the topic is delivered so far: subscriber_delivers()
 *	private_seq	and a message for this user alone; 0: none
 */
void hub_delivered(struct hub *h, struct hub_topic *t, uint64_t up_to, uint64_t private_seq);

/*
 * A frame that is in no queue, for everyone on the topic who may have it and can take it soon: at most once. It goes
 * out by hub_run(), as other messages do; of more than EPHEMERALS_MAX_BYTES that wait, the oldest are dropped.
 *
 * ERR_MEMORY  nobody gets it
 */
enum err hub_ephemeral(struct hub *h, struct hub_topic *t, struct span frame, const char *to_user,
		       const struct uuid *exclude) MUST_CHECK;
