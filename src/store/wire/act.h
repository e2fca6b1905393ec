/*
 * act - tidings.act(), which does what a client says, whichever way it came: its parameters, its statement, its outcomes.
 *
 * The sidecar calls it through a pipeline (store/sidecar/sql_live.h), fcgi on a connection that waits (store/request/act_run.h).
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

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
	int predictions;       /* TIDINGS_PREDICTIONS: the index of its word */
};

#define ACT_PARAMS 11

struct act_params {
	const char *values[ACT_PARAMS]; /* texts: lent by the act, or by what follows */
	char queue_max[24], queue_min_age[24], daily_max[24];
};

void act_fill_params(const struct act *act, struct act_params *out);

/* The columns of an answer; `call` is "tidings.act(…)" or another that has them. */
#define ACT_SQL(call)                                                                                       \
	"SELECT outcome, detail, reply, topic, seq, clients, CASE outcome WHEN 'ok' THEN tidings.act_size(" \
	"$4::text, $5::json) ELSE 1 END FROM " call
#define ACT_CALL                                                                                       \
	"tidings.act($1::text, $2::text, $3::text, $4::text, $5::json, $6::text, $7::int8, $8::int8, " \
	"$9::boolean, $10::int8, $11::text)"

enum { ACT_OUTCOME, ACT_DETAIL, ACT_REPLY, ACT_TOPIC, ACT_SEQ, ACT_CLIENTS, ACT_SIZE };

/*
 * OK
 * ERR_FORBIDDEN
 * ERR_NOT_FOUND  said to service and admin; to others it is as ERR_FORBIDDEN
 * ERR_INPUT      the members are of their kinds, but mean nothing that can be done
 * ERR_FIELD      the same of one of them: the detail begins with its name
 * ERR_SETTLED    it is decided or withdrawn already
 * ERR_CONFLICT   the idempotency key was used for something else
 * ERR_LIMIT      the user may have no more stored today (UTC)
 * ERR_DATABASE   the text is no outcome
 */
enum err act_outcome(const char *text);

/* The word for it in the audit trail. Lent: static. */
const char *act_outcome_text(enum err outcome);

/*
 * What an act has cost beyond what any act costs, in parts of RATE_ONE (domain/caller/rate.h): messages that are written together
 * are much cheaper than as many requests.
 *
 *	size	messages and rows that it has made; 1: no more than others
 */
int64_t act_cost(int64_t size);
