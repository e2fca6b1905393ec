/*
 * broadcast.fcgi - takes what services publish (spec sections 3.1 and 3.2).
 */
#include "domain/input/broadcast.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log/audit.h"
#include "base/log/log.h"
#include "base/process/config.h"
#include "base/process/settings_file.h"
#include "fcgi/auth.h"
#include "fcgi/metrics/program_metrics.h"
#include "fcgi/request_limits.h"
#include "fcgi/route.h"
#include "fcgi/server.h"
#include "store/publish/publisher.h"

static const char usage[] =
	"Usage: broadcast.fcgi [--check-config | --version | --help]\n"
	"Takes broadcasts by FastCGI on descriptor 0, where a web server starts it, and puts them into the\n"
	"queue. Configured by TIDINGS_ variables: see tidings.conf(5).\n";

static const struct route routes[] = {
	{"POST", "/ws/broadcast-recommendation-update", BROADCAST_RECOMMENDATION},
	{"POST", "/ws/broadcast-effectiveness-update", BROADCAST_EFFECTIVENESS},
	{"POST", "/ws/broadcast-feedback-update", BROADCAST_FEEDBACK},
	{"POST", "/ws/publish", BROADCAST_PUBLISH},
};

struct program {
	struct config config;
	struct settings_file *settings; /* NULL: there is none */
	struct auth *auth;
	struct publisher *publisher;
	struct request_limits *limits;
	struct metrics metrics;
};

/* One request on its way through. */
struct publish {
	struct program *program;
	const struct request *request;
	struct response *res;
	enum broadcast_kind kind;
	struct token_claims caller;
	struct buf body;
	const char *key; /* Idempotency-Key; NULL: none */
	struct publications publications;
	struct publish_result *results; /* owned: one per publication */
	bool decided;			/* the results are there */
};

/* Each step is true when the next may follow; else the response says why not. */

static bool check_role(struct publish *p)
{
	switch (p->caller.role) {
	case ROLE_SERVICE:
	case ROLE_ADMIN:
		return true;
	case ROLE_USER:
	case ROLE_CLINICIAN:
		break;
	}
	if (p->kind != BROADCAST_PUBLISH)
		return true;
	response_refuse(p->res, 403, "Only services and administrators may publish to any topic.");
	return false;
}

static bool validate(struct publish *p)
{
	struct problem problem = PROBLEM_NONE;
	struct span body = {p->body.bytes ? p->body.bytes : "", p->body.len};
	enum err e = broadcast_read(p->kind, body, clock_wall_us(), &p->publications, &problem);

	request_idempotency_key(p->request, &p->key, &problem);
	if (e != OK && e != ERR_INPUT)
		response_fault(p->res, e);
	else if (problem.status != 0)
		response_problem(p->res, &problem);
	problem_free(&problem);
	return p->res->status == 200;
}

static enum err publish(struct program *program, struct publish_request *request)
{
	enum err e = OK;

	metrics_add(&program->metrics, METRIC_PUBLISH_WAITING, 0, 0, 1);
	e = publisher_publish(program->publisher, request);
	metrics_add(&program->metrics, METRIC_PUBLISH_WAITING, 0, 0, -1);
	return e;
}

static bool hand_over(struct publish *p)
{
	struct publish_request request = {
		.caller = p->caller.user_id,
		.role = p->caller.role,
		.key = p->key,
		.publications = &p->publications,
	};
	struct buf fingerprint = BUF_EMPTY;
	enum err e = ERR_MEMORY;

	p->results = calloc(p->publications.count, sizeof(*p->results));
	request.results = p->results;
	if (p->key) {
		request_fingerprint(p->request, &p->body, &fingerprint);
		request.fingerprint = (struct span){fingerprint.bytes, fingerprint.len};
	}
	if (p->results && buf_ok(&fingerprint))
		e = publish(p->program, &request);
	buf_free(&fingerprint);
	p->decided = e == OK;
	if (e != OK)
		response_fault(p->res, e);
	return e == OK;
}

/* The first item that a request is refused for; where it is not refused, its first. */
static size_t deciding_item(const struct publish *p)
{
	for (size_t i = 0; i < p->publications.count; i++)
		if (p->results[i].outcome != PUBLISH_WITHHELD)
			return i;
	return 0;
}

/* Of a list, errors say which item it is. */
static void refuse_item(struct publish *p, size_t item, int status, const char *detail)
{
	struct problem problem = PROBLEM_NONE;
	char prefix[32];

	snprintf(prefix, sizeof(prefix), "[%zu].", item);
	if (p->publications.count > 1)
		problem_add_field(&problem, prefix, "topic", detail);
	problem.status = status;
	problem.detail = detail;
	response_problem(p->res, &problem);
	problem_free(&problem);
}

/* A request is published or refused as a whole: one outcome is that of all, but for what is scheduled. */
static void reply(struct publish *p)
{
	struct problem problem = PROBLEM_NONE;
	size_t item = deciding_item(p);

	switch (p->results[item].outcome) {
	case PUBLISH_OK:
	case PUBLISH_SCHEDULED:
	case PUBLISH_REPLAYED:
		broadcast_write_reply(&p->res->body, p->kind, &p->publications, p->results);
		break;
	case PUBLISH_NOT_FOUND:
		if (p->caller.role == ROLE_SERVICE || p->caller.role == ROLE_ADMIN) {
			refuse_item(p, item, 404, "There is no such diagnosis.");
			break;
		}
		refuse_item(p, item, 403, "You may not publish here.");
		p->res->why = "no such diagnosis";
		break;
	case PUBLISH_FORBIDDEN:
	case PUBLISH_WITHHELD:
		refuse_item(p, item, 403, "You may not publish here.");
		break;
	case PUBLISH_OVER_QUOTA:
		request_limits_refuse_quota(p->res);
		break;
	case PUBLISH_KEY_REUSED:
		problem_add_field(&problem, "", "Idempotency-Key",
				  "was used for another request within the last 24 hours");
		response_problem(p->res, &problem);
		problem_free(&problem);
		break;
	}
}

static const char *outcome_text(enum publish_outcome outcome)
{
	switch (outcome) {
	case PUBLISH_OK:
		return "ok";
	case PUBLISH_SCHEDULED:
		return "scheduled";
	case PUBLISH_REPLAYED:
		return "replayed";
	case PUBLISH_NOT_FOUND:
		return "not_found";
	case PUBLISH_FORBIDDEN:
		return "forbidden";
	case PUBLISH_WITHHELD:
		return "withheld";
	case PUBLISH_KEY_REUSED:
		return "key_reused";
	case PUBLISH_OVER_QUOTA:
		return "over_quota";
	}
	return "unknown";
}

static enum published published_of(enum publish_outcome outcome)
{
	switch (outcome) {
	case PUBLISH_OK:
	case PUBLISH_SCHEDULED:
		return PUBLISHED_COMMITTED;
	case PUBLISH_REPLAYED:
		return PUBLISHED_REPEATED;
	case PUBLISH_NOT_FOUND:
	case PUBLISH_FORBIDDEN:
	case PUBLISH_WITHHELD:
	case PUBLISH_KEY_REUSED:
	case PUBLISH_OVER_QUOTA:
		break;
	}
	return PUBLISHED_REFUSED;
}

/* Of a request that did not come so far that its messages are known it is one. */
static void count(const struct publish *p)
{
	const struct metrics *m = &p->program->metrics;

	if (!p->decided)
		metrics_add(m, METRIC_PUBLISHED_MESSAGES, program_metrics_published(p->res->status), 0,
			    (int64_t)MAX(p->publications.count, 1));
	for (size_t i = 0; p->decided && i < p->publications.count; i++)
		metrics_add(m, METRIC_PUBLISHED_MESSAGES, published_of(p->results[i].outcome), 0, 1);
}

/* A line for each message that the database decided on; else one for the request. */
static void audit(const struct publish *p)
{
	struct audit line = {
		.user_id = p->caller.user_id,
		.role = role_text(p->caller.role),
		.path = p->request->path,
		.outcome = "refused",
		.why = p->res->why,
	};

	if (!p->decided) {
		audit_write("publish", &line);
		return;
	}
	for (size_t i = 0; i < p->publications.count; i++) {
		line.topic = p->publications.items[i].topic;
		line.seq = p->results[i].seq;
		line.outcome = outcome_text(p->results[i].outcome);
		audit_write("publish", &line);
	}
}

static void serve(void *context, const struct request *r, struct response *res)
{
	struct publish p = {.program = context, .request = r, .res = res};
	const struct route *route = route_find(routes, ARRAY_LEN(routes), r, res);
	bool known = false;

	if (route) {
		p.kind = (enum broadcast_kind)route->id;
		known = auth_check(p.program->auth, r, &p.caller, res) == OK;
		if (known && check_role(&p) && request_limits_take(p.program->limits, &p.caller, RATE_ONE, res) &&
		    request_limits_body(p.program->limits, r, &p.body, res) && validate(&p) && hand_over(&p))
			reply(&p);
		if (known) {
			audit(&p);
			count(&p);
		}
	}
	publications_free(&p.publications);
	free(p.results);
	buf_free(&p.body);
}

/* In the publisher's thread. */
static void on_committed(void *metrics, int64_t took_us, size_t messages)
{
	metrics_observe(metrics, METRIC_COMMIT_DURATION, 0, 0, took_us, 1);
	metrics_observe(metrics, METRIC_COMMIT_MESSAGES, 0, 0, (int64_t)messages, 1);
}

static void reload(void *context)
{
	struct program *program = context;

	settings_file_reload(program->settings);
	auth_reload(program->auth);
}

static enum err run(struct program *program)
{
	size_t threads = (size_t)program->config.threads;
	void **contexts = calloc(threads, sizeof(*contexts));
	struct server_job job = {
		.threads = threads,
		.config = &program->config,
		.contexts = contexts,
		.serve = serve,
		.reload = reload,
		.reload_context = program,
		.metrics = &program->metrics,
	};
	enum err e = ERR_MEMORY;

	if (contexts) {
		for (size_t i = 0; i < threads; i++)
			contexts[i] = program;
		e = server_run(&job);
	}
	free(contexts);
	return e;
}

int main(int argc, char **argv)
{
	static struct program program;
	static const struct publisher_watch watch = {.committed = on_committed, .context = &program.metrics};
	enum err e = OK;

	config_start(&program.config, "broadcast.fcgi", usage, argc, argv);
	server_block_signals();
	e = route_open_metrics(&program.metrics, &program.config, "broadcast", routes, ARRAY_LEN(routes));
	if (e == OK)
		e = settings_file_open(&program.settings, &program.config);
	if (e == OK)
		e = auth_new(&program.auth, &program.config);
	if (e == OK)
		e = request_limits_new(&program.limits, &program.config, &program.metrics);
	if (e == OK)
		e = publisher_start(&program.publisher, &program.config, &watch);
	if (e == OK)
		e = run(&program);
	publisher_stop(&program.publisher);
	request_limits_free(&program.limits);
	auth_free(&program.auth);
	settings_file_close(&program.settings);
	if (e != OK)
		log_error("stopped: %s", err_text(e));
	return err_exit_status(e);
}
