/*
 * publisher - group commit: whatever requests have gathered since the last commit become the next one.
 *
 * A commit costs a flush of the log and, with a NOTIFY, a lock on the whole server: one per request is some hundred a
 * second, one per batch ten times that and more, and nobody waits longer than the commit under way and their own.
 *
 *	worker threads -> publisher_publish(): queue, sleep
 *	one thread: takes what is there, publish_batch_run(), wakes each
 *
 * What cannot be done now holds nobody up. A request for a topic that another transaction has locked is tried again, in
 * later batches, for as long as a statement may take. A batch that fails as a whole is tried again in parts, in turn with
 * new ones, until the request that it fails for is alone: the database gives a batch a quarter of the time of a statement,
 * and the whole to a request that is alone.
 *
 * While the database is away every request is ERR_AWAY at once; the thread tries to connect at growing intervals.
 *
 * Layer    store.
 * Threads  publisher_publish() from any number at once; each waits for its own, so the queue is as long as there are
 *          threads.
 * Time     a request waits for at most three statement timeouts and a connection attempt.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"
#include "store/publish/publish_batch.h"

struct publisher; /* opaque */

/* Told of each batch that is committed, and how long that took, by the publisher's thread. */
struct publisher_watch {
	void (*committed)(void *context, int64_t took_us, size_t messages);
	void *context; /* borrowed */
};

/*
 * Connects, and starts its thread. A database that is away is no error.
 *
 *	c, watch	borrowed, until it is stopped
 */
enum err publisher_start(struct publisher **p, const struct config *c, const struct publisher_watch *watch) MUST_CHECK;

/*
 * Publishes all of a request or nothing, and waits until it is committed.
 *
 * ERR_AWAY      database away, and nothing was published
 * ERR_UNKNOWN   it may have been published: an idempotency key makes trying again safe
 * ERR_BUSY      nothing was published: a topic stayed locked
 * ERR_DATABASE  nothing was published
 */
enum err publisher_publish(struct publisher *p, struct publish_request *r) MUST_CHECK;

/* Call when no publisher_publish() is under way any more. */
void publisher_stop(struct publisher **p);
