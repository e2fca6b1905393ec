/*
 * act_run - what came by HTTP for tidings.act(), carried out on a connection that waits.
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/topic/topic.h"
#include "store/blocking/db.h"
#include "store/wire/act.h"

struct act_result {
	enum err outcome;		/* of act_outcome() */
	struct buf detail;		/* owned: a sentence for the client, without its full stop; empty: none */
	struct buf reply;		/* owned: the whole message, when OK */
	char topic[TOPIC_NAME_MAX + 1]; /* of the message that it published; "": none */
	int64_t seq;			/* of that message; 0: it has none, or not yet */
	int64_t clients;		/* connected to that topic at that moment */
	int64_t size;			/* act_cost() */
};

/*
 * Carries it out in one transaction.
 *
 *	key		Idempotency-Key; NULL: none
 *	fingerprint	what must be the same when the key is; not looked at without one
 *	result		all zero; freed by act_result_free(), whatever is returned
 *
 * ERR_AWAY      it was not done
 * ERR_UNKNOWN   it may or may not have been done: an idempotency key makes trying again safe
 * ERR_DATABASE  it was not done
 */
enum err act_run(struct db *db, const struct act *act, const char *key, struct span fingerprint,
		 struct act_result *result) MUST_CHECK;

void act_result_free(struct act_result *result);
