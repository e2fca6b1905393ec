/*
 * history.fcgi - what a topic's queue holds, answered at once and without the sidecar (spec 3.4).
 */
#include "store/request/history.h"

#include <inttypes.h>
#include <string.h>

#include "base/log/log.h"
#include "base/process/config.h"
#include "domain/http/problem.h"
#include "domain/http/query.h"
#include "domain/topic/topic.h"
#include "fcgi/db_workers.h"
#include "fcgi/request_limits.h"
#include "fcgi/route.h"

#define THREADS_MAX 8
#define LIMIT_MAX 100

static const char usage[] = "Usage: history.fcgi [--check-config | --version | --help]\n"
			    "Answers /ws/history/{diagnosis_id} and /ws/history?topic= by FastCGI on descriptor 0, "
			    "where a web server starts it.\n"
			    "Configured by TIDINGS_ variables: see tidings.conf(5).\n";

enum { DIAGNOSIS, TOPIC };

static const struct route routes[] = {{"GET", "/ws/history/*", DIAGNOSIS}, {"GET", "/ws/history", TOPIC}};

struct history_question {
	char topic[TOPIC_NAME_MAX + 1];
	struct token_claims caller;
	bool anonymous;
	struct cursor since;
	bool has_since;
	int64_t limit;
};

static bool read_caller(struct db_worker *worker, const struct request *r, struct history_question *q,
			struct response *res)
{
	enum err e = auth_check(worker->auth, r, &q->caller, res);

	if (e == ERR_NOT_FOUND && worker->config->anonymous) {
		response_free(res);
		*res = RESPONSE_NEW;
		q->anonymous = true;
		return true;
	}
	return e == OK;
}

/* False: no memory. */
static bool read_since(const struct request *r, struct history_question *q, struct problem *problem)
{
	struct buf text = BUF_EMPTY;
	bool good;

	if (request_query(r, "since", &text)) {
		q->has_since = cursor_parse(&q->since, text.bytes ? text.bytes : "", text.len) == OK;
		if (!q->has_since)
			problem_add_field(problem, "", "since", "must be a cursor that an earlier reply gave");
	}
	good = buf_ok(&text);
	buf_free(&text);
	return good;
}

/* False: no memory. */
static bool read_limit(const struct request *r, struct history_question *q, struct problem *problem)
{
	struct buf text = BUF_EMPTY;
	bool good;

	q->limit = LIMIT_MAX;
	if (request_query(r, "limit", &text) &&
	    (!topic_parse_id(text.bytes ? text.bytes : "", text.len, &q->limit) || q->limit > LIMIT_MAX))
		problem_add_field(problem, "", "limit", "must be an integer from 1 to 100");
	good = buf_ok(&text);
	buf_free(&text);
	return good;
}

/* False: no memory. */
static bool read_topic(const struct request *r, struct history_question *q, struct problem *problem)
{
	struct buf text = BUF_EMPTY;
	bool given = request_query(r, "topic", &text);
	bool good = buf_ok(&text);

	if (good && given && topic_name_valid(text.bytes ? text.bytes : "", text.len))
		memcpy(q->topic, text.bytes, text.len + 1);
	if (good && (q->topic[0] == '\0' || topic_name_misleads(q->topic)))
		problem_add_field(problem, "", "topic", "must be the name of a topic");
	buf_free(&text);
	return good;
}

static bool read_question(struct db_worker *worker, const struct request *r, const struct route *route,
			  struct history_question *q, struct response *res)
{
	bool by_topic = route->id == TOPIC;
	const struct query_name names[] = {{"since", true}, {"limit", true}, {"topic", by_topic}};
	struct span id_text = route_part(route, r);
	struct problem problem = PROBLEM_NONE;
	int64_t id = 0;

	if (!by_topic && !topic_parse_id(id_text.bytes, id_text.len, &id)) {
		response_refuse(res, 404, "There is nothing at this path.");
		return false;
	}
	if (!by_topic)
		topic_of_diagnosis(q->topic, id);
	if (!read_caller(worker, r, q, res))
		return false;
	query_check((struct span){r->query, strlen(r->query)}, names, ARRAY_LEN(names), &problem);
	if ((by_topic && !read_topic(r, q, &problem)) || !read_since(r, q, &problem) || !read_limit(r, q, &problem))
		response_fault(res, ERR_MEMORY);
	else if (problem.status != 0)
		response_problem(res, &problem);
	problem_free(&problem);
	return res->status == 200;
}

static void refuse(enum err e, const struct history_question *q, struct response *res)
{
	bool is_trusted = q->caller.role == ROLE_SERVICE || q->caller.role == ROLE_ADMIN;

	if (e != ERR_FORBIDDEN && e != ERR_NOT_FOUND)
		response_fault(res, e);
	else if (q->anonymous)
		response_refuse(res, 401, PROBLEM_NO_TOKEN);
	else if (e == ERR_NOT_FOUND && is_trusted)
		response_refuse(res, 404, "There is no such diagnosis.");
	else if (q->caller.role == ROLE_SERVICE)
		response_refuse(res, 403, ROLE_SERVICE_READS_NOTHING);
	else
		response_refuse(res, 403, "You may not read this.");
}

static void reply(const struct history *h, struct response *res)
{
	char cursor[CURSOR_TEXT_SIZE];

	buf_printf(&res->body, "{\"cursor\":\"%s\",\"messages\":[", cursor_text(cursor, h->next.epoch, h->next.seq));
	buf_add(&res->body, h->messages.bytes, h->messages.len);
	buf_printf(&res->body, "],\"recovered\":%s", h->recovered ? "true" : "false");
	if (h->missed_from > 0)
		buf_printf(&res->body, ",\"missed\":{\"from\":%" PRId64 ",\"to\":%" PRId64 "}", h->missed_from,
			   h->missed_to);
	buf_add_text(&res->body, "}");
}

static void serve(void *context, const struct request *r, struct response *res)
{
	const struct route *route = route_find(routes, ARRAY_LEN(routes), r, res);
	struct db_worker *worker = context;
	struct history_question q = {0};
	struct history h = {0};
	enum err e = OK;

	if (!route || !read_question(worker, r, route, &q, res) ||
	    (!q.anonymous && !request_limits_take(worker->shared, &q.caller, RATE_ONE, res)))
		return;
	e = history_read(worker->db, q.anonymous ? NULL : q.caller.user_id, q.caller.role, worker->config->require_user,
			 q.topic, q.has_since ? &q.since : NULL, q.limit, &h);
	if (e == OK)
		reply(&h, res);
	else
		refuse(e, &q, res);
	buf_free(&h.messages);
}

int main(int argc, char **argv)
{
	struct config config;
	struct request_limits *limits = NULL;
	struct metrics metrics;
	struct db_workers_job job = {
		.config = &config,
		.metrics = &metrics,
		.database_role = "tidings_reader",
		.application_name = "tidings history",
		.threads_max = THREADS_MAX,
		.serve = serve,
	};
	enum err e = OK;

	config_start(&config, "history.fcgi", usage, argc, argv);
	e = route_open_metrics(&metrics, &config, "history", routes, ARRAY_LEN(routes));
	if (e == OK)
		e = request_limits_new(&limits, &config, &metrics);
	job.shared = limits;
	if (e == OK)
		e = db_workers_run(&job);
	request_limits_free(&limits);
	if (e != OK)
		log_error("stopped: %s", err_text(e));
	return err_exit_status(e);
}
