/*
 * publish_batch - many requests, one transaction, one round trip: tidings.publish_batch().
 *
 * Layer    store.
 * Threads  the publisher's one.
 */
#pragma once

#include <stddef.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"
#include "domain/topic/publication.h"
#include "store/blocking/db.h"

/* All borrowed, until the call that it was given to returns. */
struct publish_request {
	const char *caller;
	enum role role;
	const char *key;	 /* Idempotency-Key; NULL: none */
	struct span fingerprint; /* what must be the same when the key is: path and body; not looked at without a key */
	const struct publications *publications;
	struct publish_result *results; /* out: one per publication; written only when all went well */
	bool busy;			/* out: a topic of it is locked: nothing was done, and there are no results */
};

struct publish_batch; /* opaque: the parameters, kept from batch to batch */

/*
 *	c	borrowed, for as long as it lives
 */
enum err publish_batch_new(struct publish_batch **b, const struct config *c) MUST_CHECK;
void publish_batch_free(struct publish_batch **b);

/*
 * Publishes. A refusal of a request is a result, not an error.
 *
 *	skip_locked	requests for topics that another transaction has locked are busy; else they are waited for, as long as
 *			another batch may take, and then it is ERR_BUSY for all
 *
 * ERR_AWAY      none of it was published
 * ERR_UNKNOWN   all of it may have been published, or none; but not later than the database's timeout allows: what arrives
 *               late, at a server that was frozen, is refused there
 * ERR_BUSY      none of it was, because of what others were doing
 * ERR_DATABASE  none of it was
 */
enum err publish_batch_run(struct publish_batch *b, struct db *db, struct publish_request *const *requests,
			   size_t count, bool skip_locked) MUST_CHECK;
