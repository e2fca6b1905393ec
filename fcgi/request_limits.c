#include "fcgi/request_limits.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define CALLERS_MAX 10000
#define KEY_MAX 128 /* characters */

struct intake {
	const struct config *config; /* borrowed */
	pthread_mutex_t lock;	     /* guards rates */
	struct rate_table *rates;
};

enum err intake_new(struct intake **out, const struct config *c)
{
	struct intake *in = calloc(1, sizeof(*in));
	enum err e = in ? rate_table_new(&in->rates, CALLERS_MAX) : ERR_MEMORY;

	if (e != OK) {
		free(in);
		return e;
	}
	in->config = c;
	pthread_mutex_init(&in->lock, NULL);
	*out = in;
	return OK;
}

void intake_free(struct intake **out)
{
	struct intake *in = *out;

	if (!in)
		return;
	rate_table_free(&in->rates);
	pthread_mutex_destroy(&in->lock);
	free(in);
	*out = NULL;
}

static void refuse_size(const struct intake *in, struct response *res)
{
	struct buf detail = BUF_EMPTY;
	struct problem problem = {.status = 413};

	buf_printf(&detail, "The body is larger than is allowed here: %" PRId64 " bytes.",
		   (int64_t)in->config->body_max_bytes);
	problem.detail = buf_ok(&detail) ? detail.bytes : "The body is larger than is allowed here.";
	response_problem(res, &problem);
	res->why = "body too large";
	buf_free(&detail);
}

bool intake_body(const struct intake *in, const struct request *r, struct buf *body, struct response *res)
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
	if (len > (uint64_t)in->config->body_max_bytes) {
		refuse_size(in, res);
		return false;
	}
	e = request_body(r, (size_t)len, body);
	if (e == ERR_INPUT)
		response_refuse(res, 400, "The body ended before its Content-Length.");
	else if (e != OK)
		response_fault(res, e);
	return e == OK;
}

static bool is_key(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	return len >= 1 && len <= KEY_MAX;
}

void intake_key(const struct request *r, const char **key, struct problem *problem)
{
	*key = request_param(r, "HTTP_IDEMPOTENCY_KEY");
	if (*key && !is_key(*key) && problem->status != 400)
		problem_add_field(problem, "", "Idempotency-Key", "must be 1 to 128 printable ASCII characters");
}

void intake_fingerprint(const struct request *r, const struct buf *body, struct buf *out)
{
	buf_add_text(out, r->path);
	buf_add(out, "\n", 1);
	buf_add(out, body->bytes, body->len);
}

static bool is_limited(const struct token_claims *caller)
{
	return caller->role != ROLE_SERVICE && caller->role != ROLE_ADMIN;
}

void intake_charge(struct intake *in, const struct token_claims *caller, int64_t cost)
{
	if (!is_limited(caller) || cost == 0)
		return;
	pthread_mutex_lock(&in->lock);
	rate_table_charge(in->rates, caller->user_id, in->config->publish_rate_per_s, cost,
			  clock_monotonic_ms() * 1000);
	pthread_mutex_unlock(&in->lock);
}

bool intake_rate(struct intake *in, const struct token_claims *caller, int64_t cost, struct response *res)
{
	int64_t retry_ms = 0;
	bool allowed = true;

	if (!is_limited(caller))
		return true;
	pthread_mutex_lock(&in->lock);
	allowed = rate_table_take(in->rates, caller->user_id, in->config->publish_rate_per_s, in->config->publish_burst,
				  cost, clock_monotonic_ms() * 1000, &retry_ms);
	pthread_mutex_unlock(&in->lock);
	if (allowed)
		return true;
	res->retry_after_s = MAX(1, (retry_ms + 999) / 1000);
	response_refuse(res, 429, "You ask for more than is allowed: see the Retry-After header.");
	return false;
}

void intake_refuse_quota(struct response *res)
{
	res->retry_after_s = clock_day_left_s(clock_wall_us());
	response_refuse(res, 429, "You may have no more stored today: see the Retry-After header.");
}
