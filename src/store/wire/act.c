#include "store/wire/act.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/defs.h"
#include "domain/caller/rate.h"

#define PER_REQUEST 16 /* messages that are as much as one request */

static const struct {
	const char *text;
	enum err e;
} outcomes[] = {
	{"ok", OK},
	{"forbidden", ERR_FORBIDDEN},
	{"not_found", ERR_NOT_FOUND},
	{"invalid", ERR_INPUT},
	{"invalid_member", ERR_FIELD},
	{"settled", ERR_SETTLED},
	{"key_reused", ERR_CONFLICT},
	{"over_quota", ERR_LIMIT},
};

enum err act_outcome(const char *text)
{
	for (size_t i = 0; text && i < ARRAY_LEN(outcomes); i++)
		if (strcmp(text, outcomes[i].text) == 0)
			return outcomes[i].e;
	return ERR_DATABASE;
}

const char *act_outcome_text(enum err outcome)
{
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
		if (outcome == outcomes[i].e)
			return outcomes[i].text;
	return "failed";
}

int64_t act_cost(int64_t size)
{
	return (MAX(size, 1) - 1) * RATE_ONE / PER_REQUEST;
}

/* The words of TIDINGS_PREDICTIONS (base/process/options.def). */
static const char *const predictions[] = {"off", "propose", "apply"};

void act_fill_params(const struct act *act, struct act_params *out)
{
	snprintf(out->queue_max, sizeof(out->queue_max), "%" PRId64, act->queue_max);
	snprintf(out->queue_min_age, sizeof(out->queue_min_age), "%" PRId64, act->queue_min_age_s);
	snprintf(out->daily_max, sizeof(out->daily_max), "%" PRId64, act->daily_max_kib);
	const char *const values[ACT_PARAMS] = {
		act->user_id,
		act->role,
		act->connection_id,
		act->type,
		act->data,
		act->correlation,
		out->queue_max,
		out->queue_min_age,
		act->require_user ? "true" : "false",
		out->daily_max,
		predictions[act->predictions],
	};
	memcpy(out->values, values, sizeof(values));
}
