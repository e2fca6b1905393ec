#include "fcgi/live/live_visit.h"

#include <string.h>

#include "fcgi/request_limits.h"
#include "store/request/account.h"
#include "store/wire/act.h"

/* What the database says of it, as the sentence that it is. */
static void refuse_in_words(struct response *res, int status, const struct buf *detail, const char *otherwise)
{
	struct problem problem = PROBLEM_NONE;
	struct buf sentence = BUF_EMPTY;

	buf_add(&sentence, detail->bytes, detail->len);
	if (sentence.len > 0 && !strchr(".?!", sentence.bytes[sentence.len - 1]))
		buf_add_text(&sentence, ".");
	problem.status = status;
	problem.detail = buf_ok(&sentence) && sentence.len > 0 ? sentence.bytes : otherwise;
	response_problem(res, &problem);
	res->why = otherwise;
	buf_free(&sentence);
}

static bool is_trusted(const struct live_visit *v)
{
	return v->caller.role == ROLE_SERVICE || v->caller.role == ROLE_ADMIN;
}

void live_visit_refuse(struct live_visit *v, enum err e, const struct buf *detail, const char *missing)
{
	static const char forbidden[] = "This is not allowed to you, or not there.";
	struct problem problem = PROBLEM_NONE;

	if (e == ERR_NOT_FOUND && is_trusted(v)) {
		refuse_in_words(v->res, 404, detail, missing);
	} else if (e == ERR_FORBIDDEN || e == ERR_NOT_FOUND) {
		response_refuse(v->res, 403, forbidden);
	} else if (e == ERR_INPUT) {
		refuse_in_words(v->res, 422, detail, "This cannot be done with these values.");
	} else if (e == ERR_FIELD && detail->len > 0) {
		problem_add_sentence(&problem, detail->bytes);
		response_problem(v->res, &problem);
		problem_free(&problem);
	} else if (e == ERR_SETTLED) {
		refuse_in_words(v->res, 409, detail, "This is settled already.");
	} else if (e == ERR_LIMIT) {
		request_limits_refuse_quota(v->res);
	} else if (e == ERR_CONFLICT) {
		problem_add_field(&problem, "", "Idempotency-Key",
				  "was used for another request within the last 24 hours");
		response_problem(v->res, &problem);
		problem_free(&problem);
	} else {
		response_fault(v->res, e);
	}
	v->audit.outcome = act_outcome_text(e);
}

/* Who must be in tidings.app_user: not services, which are no users, and admins. */
static bool check_user(struct live_visit *v)
{
	bool active = false;
	enum err e = OK;

	if (!v->worker->config->require_user || is_trusted(v))
		return true;
	e = account_is_active(v->worker->db, v->caller.user_id, &active);
	if (e != OK) {
		response_fault(v->res, e);
	} else if (!active) {
		response_refuse(v->res, 401, "This user has no active account.");
		v->res->why = "no such user";
	}
	return e == OK && active;
}

bool live_visit_may_ask(struct live_visit *v, int64_t cost)
{
	return request_limits_take(v->worker->shared, &v->caller, cost, v->res) && check_user(v);
}

bool live_visit_read_id(struct live_visit *v, char id[UUID_TEXT_SIZE])
{
	struct span part = route_part(v->route, v->request);
	struct uuid u;

	if (!uuid_parse(&u, part.bytes, part.len)) {
		response_refuse(v->res, 404, "There is nothing at this path.");
		return false;
	}
	uuid_text(id, &u);
	return true;
}
