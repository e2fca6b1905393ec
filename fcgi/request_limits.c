#include "fcgi/request_limits.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "fcgi/metrics/program_metrics.h"

#define CALLERS_MAX 10000

struct request_limits {
	const struct config *config;   /* borrowed */
	const struct metrics *metrics; /* borrowed */
	pthread_mutex_t lock;	       /* guards rates */
	struct rate_table *rates;
};

enum err request_limits_new(struct request_limits **out, const struct config *c, const struct metrics *m)
{
	struct request_limits *limits = calloc(1, sizeof(*limits));
	enum err e = limits ? rate_table_new(&limits->rates, CALLERS_MAX) : ERR_MEMORY;

	if (e != OK) {
		free(limits);
		return e;
	}
	limits->config = c;
	limits->metrics = m;
	pthread_mutex_init(&limits->lock, NULL);
	*out = limits;
	return OK;
}

void request_limits_free(struct request_limits **out)
{
	struct request_limits *limits = *out;

	if (!limits)
		return;
	rate_table_free(&limits->rates);
	pthread_mutex_destroy(&limits->lock);
	free(limits);
	*out = NULL;
}

static void refuse_size(const struct request_limits *limits, struct response *res)
{
	struct buf detail = BUF_EMPTY;
	struct problem problem = {.status = 413};

	buf_printf(&detail, "The body is larger than is allowed here: %" PRId64 " bytes.",
		   (int64_t)limits->config->body_max_bytes);
	problem.detail = buf_ok(&detail) ? detail.bytes : "The body is larger than is allowed here.";
	response_problem(res, &problem);
	res->why = "body too large";
	buf_free(&detail);
}

bool request_limits_body(const struct request_limits *limits, const struct request *r, struct buf *body,
			 struct response *res)
{
	uint64_t len = 0;
	enum err e = OK;

	if (!request_is_json(r)) {
		response_refuse(res, 415, "The body must be application/json.");
		return false;
	}
	if (request_is_encoded(r)) {
		response_refuse(res, 415, "The body must come as it is, without a Content-Encoding.");
		return false;
	}
	if (request_length(r, &len) != OK) {
		response_refuse(res, 411, "Content-Length is required.");
		return false;
	}
	if (len > (uint64_t)limits->config->body_max_bytes) {
		refuse_size(limits, res);
		return false;
	}
	e = request_body(r, (size_t)len, body);
	if (e == ERR_INPUT)
		response_refuse(res, 400, "The body ended before its Content-Length.");
	else if (e != OK)
		response_fault(res, e);
	return e == OK;
}

static bool is_limited(const struct token_claims *caller)
{
	return caller->role != ROLE_SERVICE && caller->role != ROLE_ADMIN;
}

void request_limits_charge(struct request_limits *limits, const struct token_claims *caller, int64_t cost)
{
	if (!is_limited(caller) || cost == 0)
		return;
	pthread_mutex_lock(&limits->lock);
	rate_table_charge(limits->rates, caller->user_id, limits->config->publish_rate_per_s, cost,
			  clock_monotonic_ms() * 1000);
	pthread_mutex_unlock(&limits->lock);
}

bool request_limits_take(struct request_limits *limits, const struct token_claims *caller, int64_t cost,
			 struct response *res)
{
	int64_t retry_ms = 0;
	bool allowed = true;

	if (!is_limited(caller))
		return true;
	pthread_mutex_lock(&limits->lock);
	allowed = rate_table_take(limits->rates, caller->user_id, limits->config->publish_rate_per_s,
				  limits->config->publish_burst, cost, clock_monotonic_ms() * 1000, &retry_ms);
	pthread_mutex_unlock(&limits->lock);
	if (allowed)
		return true;
	metrics_add(limits->metrics, METRIC_RATE_LIMITED, caller->role, 0, 1);
	res->retry_after_s = MAX(1, (retry_ms + 999) / 1000);
	response_refuse(res, 429, "You ask for more than is allowed: see the Retry-After header.");
	return false;
}

void request_limits_refuse_quota(struct response *res)
{
	res->retry_after_s = clock_day_left_s(clock_wall_us());
	response_refuse(res, 429, "You may have no more stored today: see the Retry-After header.");
}
