/*
 * act_run - what a client says that touches the database: tidings.act(), whichever way it came.
 *
 * The sidecar's go through its pipeline (calls_act()); those that come by HTTP through a connection that waits.
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

/* What a client says, and who it is. All borrowed. */
struct act {
	const char *user_id;
	const char *role;
	const char *connection_id; /* NULL: it has none */
	const char *type;
	const char *data;	 /* JSON */
	const char *correlation; /* JSON; NULL: none */
	int64_t queue_max, queue_min_age_s;
	bool require_user;     /* who is not in tidings.app_user, or not active, is refused */
	int64_t daily_max_kib; /* TIDINGS_USER_DAILY_MAX */
};

struct act_result {
	/*
	 * OK
	 * ERR_FORBIDDEN
	 * ERR_NOT_FOUND  said to service and admin; to others it is as ERR_FORBIDDEN
	 * ERR_INPUT      the members are of their kinds, but mean nothing that can be done
	 * ERR_CONFLICT   the idempotency key was used for something else
	 * ERR_LIMIT      the user may have no more stored today (UTC)
	 */
	enum err outcome;
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

/*
 * What it has cost beyond what any act costs, in parts of RATE_ONE (domain/caller/rate.h): messages that are written together are
 * much cheaper than as many requests.
 *
 *	size	messages and rows that it has made; 1: no more than others
 */
int64_t act_cost(int64_t size);

void act_result_free(struct act_result *result);

/* Whether tidings.app_user has this user, active (TIDINGS_REQUIRE_USER). */
enum err act_user_active(struct db *db, const char *user_id, bool *active) MUST_CHECK;

/* The word for it in the audit trail. Lent: static. */
const char *act_outcome_text(enum err outcome);
