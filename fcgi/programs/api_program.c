/*
 * api.fcgi - what an application built on tidings is asked and told: feedback, recommendations, and what feedback amounts to.
 *
 * Each route is one type of tidings.act() (domain/input/client_type.h), which may be said on a live connection and by POST /ws/send
 * as well. Its first member is the id in the path, where there is one; the others are the body's, or where a request has none those of the query.
 */
#include <string.h>

#include "base/log/log.h"
#include "base/process/config.h"
#include "domain/dialog/act_reply.h"
#include "domain/http/query.h"
#include "domain/topic/topic.h"
#include "fcgi/db_workers.h"
#include "fcgi/metrics/program_metrics.h"
#include "fcgi/live/live_act.h"
#include "fcgi/live/live_visit.h"
#include "fcgi/request_limits.h"

#define THREADS_MAX 16

static const char usage[] = "Usage: api.fcgi [--check-config | --version | --help]\n"
			    "Takes feedback and recommendations, and tells of them, by FastCGI on descriptor 0, where "
			    "a web server starts it.\n"
			    "Configured by TIDINGS_ variables: see tidings.conf(5).\n";

/* By the type of what is said. */
static const struct route routes[] = {
	{"POST", "/api/diagnosis/*/feedback", CLIENT_SUBMIT_FEEDBACK},
	{"GET", "/api/diagnosis/*/feedback", CLIENT_GET_FEEDBACK},
	{"PUT", "/api/feedback/*/rating", CLIENT_RATE_FEEDBACK},
	{"PUT", "/api/feedback/*/comment", CLIENT_COMMENT_FEEDBACK},
	{"DELETE", "/api/feedback/*", CLIENT_WITHDRAW_FEEDBACK},
	{"POST", "/api/diagnosis/*/recommendations", CLIENT_RECOMMEND},
	{"GET", "/api/diagnosis/*/recommendations", CLIENT_GET_RECOMMENDATIONS},
	{"PUT", "/api/recommendations/*/status", CLIENT_DECIDE_RECOMMENDATION},
	{"GET", "/api/diagnosis/*/analytics", CLIENT_GET_ANALYTICS},
	{"GET", "/api/recommendations/*/effectiveness", CLIENT_GET_EFFECTIVENESS},
	{"GET", "/api/analytics/trending", CLIENT_GET_TRENDING},
	{"POST", "/api/diagnosis/*/predictions", CLIENT_PREDICT},
	{"GET", "/api/analytics/models", CLIENT_GET_MODELS},
};

/* Its first member is in the path. */
static bool has_id(const struct live_visit *v)
{
	return strchr(v->route->path, '*') != NULL;
}

static bool has_body(const struct live_visit *v)
{
	return strcmp(v->route->method, "GET") != 0 && strcmp(v->route->method, "DELETE") != 0;
}

/* The parameters, as the body that they stand for. */
static void read_query(struct live_visit *v, struct buf *body, struct problem *problem)
{
	struct span query = {v->request->query, strlen(v->request->query)};
	struct query_name names[CLIENT_FIELDS_MAX];
	size_t count = 0;
	const struct field_rule *rules = client_type_rules((enum client_type)v->route->id, &count);

	for (size_t i = 0; i < count; i++)
		names[i] = (struct query_name){rules[i].name, i > 0 || !has_id(v)};
	query_check(query, names, count, problem);
	query_add_json(query, body);
}

static struct span text_of(const struct buf *b)
{
	return (struct span){b->bytes ? b->bytes : "", b->len};
}

static bool read_act(struct live_visit *v, struct live_act *a)
{
	struct client_fault fault = CLIENT_FAULT_NONE;
	struct span part = route_part(v->route, v->request);
	int64_t id = 0;
	enum err e = OK;

	if (has_id(v) && !topic_parse_id(part.bytes, part.len, &id)) {
		response_refuse(v->res, 404, "There is nothing at this path.");
		return false;
	}
	if (has_body(v) && !request_limits_body(v->worker->shared, v->request, &a->body, v->res))
		return false;
	if (!has_body(v))
		read_query(v, &a->body, &fault.problem);
	if (!buf_ok(&a->body))
		e = ERR_MEMORY;
	else if (fault.problem.status == 0 && has_id(v))
		e = client_message_read_about(&a->message, (enum client_type)v->route->id, id, text_of(&a->body),
					      &fault);
	else if (fault.problem.status == 0)
		e = client_message_read_body(&a->message, (enum client_type)v->route->id, text_of(&a->body), &fault);
	if (!live_act_read(v, a, e, &fault))
		return false;
	if (!client_type_changes_something(a->message.type))
		a->key = NULL; /* its answer is of this moment */
	return true;
}

static void serve(void *context, const struct request *r, struct response *res)
{
	struct live_visit v = {.worker = context, .request = r, .res = res};
	struct live_act a = LIVE_ACT_NONE;
	bool changes = false;

	v.route = route_find(routes, ARRAY_LEN(routes), r, res);
	if (!v.route || auth_check(v.worker->auth, r, &v.caller, res) != OK)
		return;
	changes = client_type_changes_something((enum client_type)v.route->id);
	v.audit = (struct audit){
		.user_id = v.caller.user_id,
		.role = role_text(v.caller.role),
		.path = r->path,
		.outcome = "refused",
	};
	if (live_visit_may_ask(&v, RATE_ONE) && read_act(&v, &a) && live_act_carry_out(&v, &a) &&
	    act_reply_write_data(&res->body, (struct span){a.result.reply.bytes, a.result.reply.len}) != OK)
		response_fault(res, changes ? ERR_UNKNOWN : ERR_AWAY);
	v.audit.why = res->why;
	audit_write(changes ? "publish" : "read", &v.audit);
	if (changes)
		metrics_add(v.worker->metrics, METRIC_PUBLISHED_MESSAGES, program_metrics_published(res->status), 0, 1);
	live_act_free(&a);
}

int main(int argc, char **argv)
{
	struct config config;
	static struct metrics metrics; /* counted in until the process ends */
	struct db_workers_job job = {
		.config = &config,
		.metrics = &metrics,
		.database_role = "tidings_publisher",
		.application_name = "tidings api",
		.threads_max = THREADS_MAX,
		.serve = serve,
	};
	struct request_limits *limits = NULL;
	enum err e = OK;

	config_start(&config, "api.fcgi", usage, argc, argv);
	e = route_open_metrics(&metrics, &config, "api", routes, ARRAY_LEN(routes));
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
