/*
 * history.fcgi - what the queue of a diagnosis or topic holds, answered at once and without the sidecar (spec 3.4 and 7).
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

static const char usage[] =
	"Usage: history.fcgi [--check-config | --version | --help]\n"
	"Answers /ws/history and /ws/history/{diagnosis_id} by FastCGI on descriptor 0, where a web server starts it.\n"
	"Configured by TIDINGS_ variables: see tidings.conf(5).\n";

enum { OF_DIAGNOSIS, OF_TOPIC };

static const struct route routes[] = {{"GET", "/ws/history/*", OF_DIAGNOSIS}, {"GET", "/ws/history", OF_TOPIC}};

struct history_question {
	struct token_claims caller;
	bool anonymous;
	struct history_part part;
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

/* The parameters one by one: what is wrong with each is told. */
static void read_since(struct history_part *p, struct span text, struct problem *problem)
{
	p->has_since = cursor_parse(&p->since, text.bytes, text.len) == OK;
	if (!p->has_since)
		problem_add_field(problem, "", "since", "must be a cursor that an earlier reply gave");
}

static void read_before(struct history_part *p, struct span text, struct problem *problem)
{
	if (!topic_parse_id(text.bytes, text.len, &p->before))
		problem_add_field(problem, "", "before", "must be the seq of a message");
	else if (p->has_since)
		problem_add_field(problem, "", "before", "must not be given with since");
}

static void read_limit(struct history_part *p, struct span text, struct problem *problem)
{
	if (!topic_parse_id(text.bytes, text.len, &p->limit) || p->limit > LIMIT_MAX)
		problem_add_field(problem, "", "limit", "must be an integer from 1 to 100");
}

static void read_types(struct history_part *p, struct span text, struct problem *problem)
{
	enum err e = message_types_of_list(&p->types, text);

	if (e == ERR_INPUT)
		problem_add_field(problem, "", "types", MESSAGE_TYPES_SENTENCE);
	else if (e != OK)
		problem->errors.failed = true;
}

static void read_topic(struct history_part *p, struct span text, struct problem *problem)
{
	bool good = topic_name_valid(text.bytes, text.len);

	if (good) {
		memcpy(p->topic, text.bytes, text.len);
		good = !topic_name_misleads(p->topic);
	}
	if (!good)
		problem_add_field(problem, "", "topic", "must be the name of a topic");
}

static const struct {
	const char *name;
	void (*read)(struct history_part *p, struct span text, struct problem *problem);
} parameters[] = {{"topic", read_topic},
		  {"since", read_since},
		  {"before", read_before},
		  {"limit", read_limit},
		  {"types", read_types}};

/* False: no memory. */
static bool read_parameters(const struct request *r, struct history_part *p, struct problem *problem)
{
	bool has_topic = p->topic[0] != '\0', good = true;

	for (size_t i = has_topic ? 1 : 0; i < ARRAY_LEN(parameters); i++) {
		struct buf text = BUF_EMPTY;

		if (request_query(r, parameters[i].name, &text))
			parameters[i].read(p, (struct span){text.bytes ? text.bytes : "", text.len}, problem);
		else if (parameters[i].read == read_topic)
			problem_add_field(problem, "", "topic", "is required");
		good = good && buf_ok(&text);
		buf_free(&text);
	}
	return good && buf_ok(&problem->errors);
}

static bool read_question(struct db_worker *worker, const struct request *r, const struct route *route,
			  struct history_question *q, struct response *res)
{
	const struct query_name names[] = {
		{"topic", route->id == OF_TOPIC}, {"since", true}, {"before", true}, {"limit", true}, {"types", true}};
	struct problem problem = PROBLEM_NONE;
	struct span id_text = route_part(route, r);
	int64_t id = 0;

	if (route->id == OF_DIAGNOSIS && !topic_parse_id(id_text.bytes, id_text.len, &id)) {
		response_refuse(res, 404, "There is nothing at this path.");
		return false;
	}
	q->part.limit = LIMIT_MAX;
	if (route->id == OF_DIAGNOSIS)
		topic_of_diagnosis(q->part.topic, id);
	if (!read_caller(worker, r, q, res))
		return false;
	query_check((struct span){r->query, strlen(r->query)}, names, ARRAY_LEN(names), &problem);
	if (!read_parameters(r, &q->part, &problem))
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

	if (route && read_question(worker, r, route, &q, res) &&
	    (q.anonymous || request_limits_take(worker->shared, &q.caller, RATE_ONE, res))) {
		e = history_read(worker->db,
				 &(struct history_reader){.user_id = q.anonymous ? NULL : q.caller.user_id,
							  .role = q.caller.role,
							  .require_user = worker->config->require_user},
				 &q.part, &h);
		if (e == OK)
			reply(&h, res);
		else
			refuse(e, &q, res);
	}
	message_types_unref(&q.part.types);
	buf_free(&h.messages);
}

int main(int argc, char **argv)
{
	struct config config;
	struct request_limits *limits = NULL;
	static struct metrics metrics; /* counted in until the process ends */
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
