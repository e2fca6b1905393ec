#include "fcgi/live/live_roster.h"

#include <string.h>

#include "domain/caller/rate.h"
#include "domain/dialog/roster.h"
#include "domain/http/query.h"
#include "domain/topic/topic.h"
#include "store/roster/roster_page.h"

/* What is asked for; both are owned, an empty one was not given. */
struct roster_request {
	struct buf topic, after;
	int64_t limit;
};

static bool is_topic(const struct buf *name)
{
	return name->len > 0 && topic_name_usable(name->bytes, name->len);
}

/* False: *res says what is wrong. */
static bool read_request(struct live_visit *v, struct roster_request *q)
{
	static const struct query_name names[] = {{"topic", true}, {"after", true}, {"limit", true}};
	const struct request *r = v->request;
	struct problem problem = PROBLEM_NONE;
	struct buf limit = BUF_EMPTY;

	q->limit = ROSTER_MAX;
	query_check((struct span){r->query, strlen(r->query)}, names, ARRAY_LEN(names), &problem);
	(void)request_query(r, "topic", &q->topic);
	if (!is_topic(&q->topic))
		problem_add_field(&problem, "", "topic", "must be the name of a topic");
	if (request_query(r, "after", &q->after) && !(q->after.len > 0 && user_id_valid(q->after.bytes, q->after.len)))
		problem_add_field(&problem, "", "after", "must be the next that an earlier reply gave");
	if (request_query(r, "limit", &limit) &&
	    !(limit.len > 0 && topic_parse_id(limit.bytes, limit.len, &q->limit) && q->limit <= ROSTER_MAX))
		problem_add_field(&problem, "", "limit", "must be an integer from 1 to 100");
	if (!buf_ok(&q->topic) || !buf_ok(&q->after) || !buf_ok(&limit))
		response_fault(v->res, ERR_MEMORY);
	else if (problem.status != 0)
		response_problem(v->res, &problem);
	buf_free(&limit);
	problem_free(&problem);
	return v->res->status == 200;
}

/* More than most questions, of a topic with thousands of users. */
#define PAGE_COST (2 * RATE_ONE)

void live_roster_page(struct live_visit *v)
{
	const struct config *c = v->worker->config;
	const struct buf nothing = BUF_EMPTY;
	struct roster_request q = {0};

	if (!c->presence) {
		response_refuse(v->res, 404, "Who is on a topic is not told here.");
		return;
	}
	if (live_visit_may_ask(v, PAGE_COST) && read_request(v, &q)) {
		const struct roster_question question = {
			.user_id = v->caller.user_id,
			.role = role_text(v->caller.role),
			.topic = q.topic.bytes,
			.after = q.after.len > 0 ? q.after.bytes : NULL,
			.limit = q.limit,
			.grace_ms = c->presence_grace_s * 1000,
			.require_user = c->require_user,
		};
		enum err e = roster_page_read(v->worker->db, &question, &v->res->body);

		if (e != OK)
			live_visit_refuse(v, e, &nothing, "There is no such topic.");
	}
	buf_free(&q.topic);
	buf_free(&q.after);
}
