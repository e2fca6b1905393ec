/*
 * broadcast.fcgi - takes what services publish (spec sections 3.1 and 3.2).
 */
#include "domain/broadcast.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "domain/rate.h"
#include "fcgi/caller.h"
#include "fcgi/route.h"
#include "fcgi/worker.h"
#include "store/publisher.h"

#define RATE_CALLERS_MAX 10000
#define IDEMPOTENCY_KEY_MAX 128 /* characters */
#define LOG_NAME_SIZE 200

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
	struct callers *callers;
	struct publisher *publisher;
	pthread_mutex_t rate_lock; /* guards rates */
	struct rate_table *rates;
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

static bool read_body(struct publish *p)
{
	uint64_t len = 0;
	enum err e = OK;

	if (!request_is_json(p->request)) {
		response_refuse(p->res, 415, "The body must be application/json.");
		return false;
	}
	if (request_length(p->request, &len) != OK) {
		response_refuse(p->res, 411, "Content-Length is required.");
		return false;
	}
	if (len > (uint64_t)p->program->config.body_max_bytes) {
		response_refuse(p->res, 413, "The body is larger than is allowed here.");
		return false;
	}
	e = request_body(p->request, (size_t)len, &p->body);
	if (e == ERR_INPUT)
		response_refuse(p->res, 400, "The body ended before its Content-Length.");
	else if (e != OK)
		response_fault(p->res, e);
	return e == OK;
}

static bool is_key(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	return len >= 1 && len <= IDEMPOTENCY_KEY_MAX;
}

static bool validate(struct publish *p)
{
	struct problem problem = PROBLEM_NONE;
	struct span body = {p->body.bytes ? p->body.bytes : "", p->body.len};
	enum err e = broadcast_read(p->kind, body, clock_wall_us(), &p->publications, &problem);

	p->key = request_param(p->request, "HTTP_IDEMPOTENCY_KEY");
	if (p->key && !is_key(p->key) && problem.status != 400)
		problem_add_field(&problem, "", "Idempotency-Key", "must be 1 to 128 printable ASCII characters");
	if (e != OK && e != ERR_INPUT)
		response_fault(p->res, e);
	else if (problem.status != 0)
		response_problem(p->res, &problem);
	problem_free(&problem);
	return p->res->status == 200;
}

static bool check_rate(struct publish *p)
{
	const struct config *c = &p->program->config;
	int64_t retry_ms = 0;
	bool allowed = true;

	if (p->caller.role == ROLE_SERVICE || p->caller.role == ROLE_ADMIN)
		return true;
	pthread_mutex_lock(&p->program->rate_lock);
	allowed = rate_table_take(p->program->rates, p->caller.user_id, c->publish_rate_per_s, c->publish_burst,
				  clock_monotonic_ms() * 1000, &retry_ms);
	pthread_mutex_unlock(&p->program->rate_lock);
	if (allowed)
		return true;
	p->res->retry_after_s = MAX(1, (retry_ms + 999) / 1000);
	response_refuse(p->res, 429, "You publish more often than is allowed: see the Retry-After header.");
	return false;
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
		buf_add_text(&fingerprint, p->request->path);
		buf_add(&fingerprint, "\n", 1);
		buf_add(&fingerprint, p->body.bytes, p->body.len);
		request.fingerprint = (struct span){fingerprint.bytes, fingerprint.len};
	}
	if (p->results && buf_ok(&fingerprint))
		e = publisher_publish(p->program->publisher, &request);
	buf_free(&fingerprint);
	if (e != OK)
		response_fault(p->res, e);
	return e == OK;
}

/* A request is published or refused as a whole: its first outcome is that of all, but for what is scheduled. */
static void reply(struct publish *p)
{
	struct problem problem = PROBLEM_NONE;

	switch (p->results[0].outcome) {
	case PUBLISH_OK:
	case PUBLISH_SCHEDULED:
	case PUBLISH_REPLAYED:
		broadcast_write_reply(&p->res->body, p->kind, &p->publications, p->results);
		break;
	case PUBLISH_NOT_FOUND:
		if (p->caller.role == ROLE_SERVICE || p->caller.role == ROLE_ADMIN) {
			response_refuse(p->res, 404, "There is no such diagnosis.");
			break;
		}
		response_refuse(p->res, 403, "You may not publish here.");
		p->res->why = "no such diagnosis";
		break;
	case PUBLISH_FORBIDDEN:
		response_refuse(p->res, 403, "You may not publish here.");
		break;
	case PUBLISH_KEY_REUSED:
		problem_add_field(&problem, "", "Idempotency-Key",
				  "was used for another request within the last 24 hours");
		response_problem(p->res, &problem);
		problem_free(&problem);
		break;
	}
}

static void log_refusal(const struct publish *p)
{
	char caller[LOG_NAME_SIZE];
	char path[LOG_NAME_SIZE];
	const char *user_id = p->caller.user_id;

	log_info("publish refused caller=%s path=%s status=%d why=\"%s\"",
		 log_quote(caller, sizeof(caller), user_id, strlen(user_id)),
		 log_quote(path, sizeof(path), p->request->path, strlen(p->request->path)), p->res->status,
		 p->res->why);
}

static void serve(void *context, const struct request *r, struct response *res)
{
	struct publish p = {.program = context, .request = r, .res = res};
	const struct route *route = route_find(routes, ARRAY_LEN(routes), r, res);

	if (route) {
		p.kind = (enum broadcast_kind)route->id;
		if (caller_check(p.program->callers, r, &p.caller, res) == OK && check_role(&p) && read_body(&p) &&
		    validate(&p) && check_rate(&p) && hand_over(&p))
			reply(&p);
	}
	if (res->status != 200)
		log_refusal(&p);
	publications_free(&p.publications);
	free(p.results);
	buf_free(&p.body);
}

static void reload(void *context)
{
	struct program *program = context;

	callers_reload(program->callers);
}

static enum err run(struct program *program)
{
	size_t threads = (size_t)program->config.threads;
	void **contexts = calloc(threads, sizeof(*contexts));
	struct worker_job job = {
		.threads = threads,
		.contexts = contexts,
		.serve = serve,
		.reload = reload,
		.reload_context = program,
	};
	enum err e = ERR_MEMORY;

	if (contexts) {
		for (size_t i = 0; i < threads; i++)
			contexts[i] = program;
		e = worker_run(&job);
	}
	free(contexts);
	return e;
}

int main(int argc, char **argv)
{
	static struct program program = {.rate_lock = PTHREAD_MUTEX_INITIALIZER};
	enum err e = OK;

	config_start(&program.config, "broadcast.fcgi", usage, argc, argv);
	worker_block_signals();
	e = callers_new(&program.callers, &program.config);
	if (e == OK)
		e = rate_table_new(&program.rates, RATE_CALLERS_MAX);
	if (e == OK)
		e = publisher_start(&program.publisher, &program.config);
	if (e == OK)
		e = run(&program);
	publisher_stop(&program.publisher);
	rate_table_free(&program.rates);
	callers_free(&program.callers);
	if (e != OK)
		log_error("stopped: %s", err_text(e));
	return e == OK ? 0 : 1;
}
