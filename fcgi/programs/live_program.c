/*
 * live.fcgi - live health by HTTP (spec sections 3.3, 3.4 and 6): its broadcasts, what clients without WebSocket have
 * to say, and the management of connections.
 */
#include <inttypes.h>
#include <string.h>

#include "base/log/audit.h"
#include "base/log/log.h"
#include "base/process/config.h"
#include "domain/input/client_message.h"
#include "domain/text/uuid.h"
#include "fcgi/db_workers.h"
#include "fcgi/request_limits.h"
#include "fcgi/route.h"
#include "store/request/account.h"
#include "store/request/act_run.h"
#include "store/request/connection_admin.h"

#define THREADS_MAX 16
#define WAIT_MS 5000 /* for a node that has to do something */

/* An order to the nodes takes the lock that every commit with a NOTIFY takes, and a thread until a node has answered. */
#define ORDER_COST (10 * RATE_ONE)

static const char usage[] =
	"Usage: live.fcgi [--check-config | --version | --help]\n"
	"Takes health readings, chat messages and notifications by FastCGI on descriptor 0, where a web server\n"
	"starts it, and manages connections. Configured by TIDINGS_ variables: see tidings.conf(5).\n";

enum { BROADCAST_CHAT, BROADCAST_HEALTH, BROADCAST_NOTIFICATION, SEND, RECEIPT, HEALTH, DISCONNECT, RECONNECT };

static const struct route routes[] = {
	{"POST", "/ws/broadcast-chat-message", BROADCAST_CHAT},
	{"POST", "/ws/broadcast-health-update", BROADCAST_HEALTH},
	{"POST", "/ws/broadcast-notification", BROADCAST_NOTIFICATION},
	{"POST", "/ws/send", SEND},
	{"GET", "/ws/notification/*/receipt", RECEIPT},
	{"GET", "/ws/connection/*/health", HEALTH},
	{"DELETE", "/ws/connection/*", DISCONNECT},
	{"POST", "/ws/user/**/reconnect", RECONNECT},
};

/* One request on its way through. */
struct visit {
	struct db_worker *worker;
	const struct request *request;
	struct response *res;
	const struct route *route;
	struct token_claims caller;
	struct audit audit; /* the line that is written at the end; without an outcome: none is */
};

/* ---- acts */

/* A message, on its way into the database. */
struct saying {
	struct client_message message;
	struct buf body;
	const char *key; /* Idempotency-Key; NULL: none */
	struct act_result result;
};

static void refuse_own_type(struct visit *v)
{
	struct problem problem = PROBLEM_NONE;

	problem_add_field(&problem, "", "type", "means something on a WebSocket only");
	response_problem(v->res, &problem);
	problem_free(&problem);
}

static bool read_saying(struct visit *v, struct saying *s)
{
	struct client_fault fault = CLIENT_FAULT_NONE;
	struct span body = {s->body.bytes ? s->body.bytes : "", s->body.len};
	enum err e = OK;

	switch (v->route->id) {
	case BROADCAST_CHAT:
		e = client_message_read_body(&s->message, CLIENT_BROADCAST_CHAT, body, &fault);
		break;
	case BROADCAST_HEALTH:
		e = client_message_read_body(&s->message, CLIENT_BROADCAST_HEALTH, body, &fault);
		break;
	case BROADCAST_NOTIFICATION:
		e = client_message_read_body(&s->message, CLIENT_NOTIFY, body, &fault);
		break;
	default:
		e = client_message_read(&s->message, body, &fault);
		break;
	}
	request_idempotency_key(v->request, &s->key, &fault.problem);
	if (e != OK && e != ERR_INPUT)
		response_fault(v->res, e);
	else if (fault.problem.status != 0)
		response_problem(v->res, &fault.problem);
	else if (!client_type_is_act(s->message.type))
		refuse_own_type(v);
	else
		v->audit.type = client_type_text(s->message.type);
	problem_free(&fault.problem);
	return v->res->status == 200;
}

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

static bool is_trusted(const struct visit *v)
{
	return v->caller.role == ROLE_SERVICE || v->caller.role == ROLE_ADMIN;
}

/*
 * An ordinary user cannot tell what is not there from what is someone else's.
 *
 *	missing	for those who may know: "There is no such conversation."
 */
static void refuse(struct visit *v, enum err e, const struct buf *detail, const char *missing)
{
	static const char forbidden[] = "This is not allowed to you, or not there.";
	struct problem problem = PROBLEM_NONE;

	if (e == ERR_NOT_FOUND && is_trusted(v)) {
		refuse_in_words(v->res, 404, detail, missing);
	} else if (e == ERR_FORBIDDEN || e == ERR_NOT_FOUND) {
		response_refuse(v->res, 403, forbidden);
	} else if (e == ERR_INPUT) {
		refuse_in_words(v->res, 422, detail, "This cannot be done with these values.");
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

static bool carry_out(struct visit *v, struct saying *s)
{
	const struct act act = {
		.user_id = v->caller.user_id,
		.role = role_text(v->caller.role),
		.type = client_type_text(s->message.type),
		.data = s->message.data.bytes,
		.correlation = s->message.correlation_id.bytes,
		.queue_max = v->worker->config->queue_max,
		.queue_min_age_s = v->worker->config->queue_min_age_s,
		.require_user = v->worker->config->require_user,
		.daily_max_kib = v->worker->config->user_daily_max_kib,
	};
	struct buf fingerprint = BUF_EMPTY;
	enum err e = ERR_MEMORY;

	if (s->key)
		request_fingerprint(v->request, &s->body, &fingerprint);
	if (buf_ok(&fingerprint))
		e = act_run(v->worker->db, &act, s->key, (struct span){fingerprint.bytes, fingerprint.len}, &s->result);
	buf_free(&fingerprint);
	if (e == OK)
		request_limits_charge(v->worker->shared, &v->caller, act_cost(s->result.size));
	if (e == OK)
		e = s->result.outcome;
	if (e != OK) {
		refuse(v, e, &s->result.detail, client_type_missing(s->message.type));
		return false;
	}
	v->audit.outcome = "ok";
	v->audit.topic = s->result.topic[0] ? s->result.topic : NULL;
	v->audit.seq = s->result.seq;
	return true;
}

/* Who must be in tidings.app_user: not services, which are no users, and admins. */
static bool check_user(struct visit *v)
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

/* Within the caller's rate, and by somebody who has an account where that is asked for: in this order, since the database is asked. */
static bool may_ask(struct visit *v, int64_t cost)
{
	return request_limits_take(v->worker->shared, &v->caller, cost, v->res) && check_user(v);
}

static void reply(struct visit *v, const struct saying *s)
{
	struct span said = {s->result.reply.bytes, s->result.reply.len};

	if (v->route->id == SEND)
		buf_add(&v->res->body, said.bytes, said.len);
	else if (client_message_write_broadcast(&v->res->body, said, s->result.topic, s->result.seq,
						s->result.clients) != OK)
		response_fault(v->res, ERR_UNKNOWN);
}

static void serve_saying(struct visit *v)
{
	struct request_limits *limits = v->worker->shared;
	struct saying s = {0};

	v->audit.outcome = "refused";
	if (may_ask(v, RATE_ONE) && request_limits_body(limits, v->request, &s.body, v->res) && read_saying(v, &s) &&
	    carry_out(v, &s))
		reply(v, &s);
	v->audit.why = v->res->why;
	audit_write("publish", &v->audit);
	client_message_free(&s.message);
	act_result_free(&s.result);
	buf_free(&s.body);
}

/* ---- reading and managing */

/* The id in the path as text. False: it is none, so there is no such path. */
static bool read_id(struct visit *v, char id[UUID_TEXT_SIZE])
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

static void serve_receipt(struct visit *v)
{
	struct act_result result = {0};
	struct buf data = BUF_EMPTY;
	char id[UUID_TEXT_SIZE];
	struct act act = {
		.user_id = v->caller.user_id,
		.role = role_text(v->caller.role),
		.type = "get_receipt",
	};
	enum err e = OK;

	if (!read_id(v, id) || !may_ask(v, RATE_ONE))
		return;
	buf_printf(&data, "{\"id\":\"%s\"}", id);
	act.data = data.bytes;
	e = buf_ok(&data) ? act_run(v->worker->db, &act, NULL, (struct span){0}, &result) : ERR_MEMORY;
	if (e == OK)
		e = result.outcome;
	if (e == OK)
		e = client_message_write_data(&v->res->body, (struct span){result.reply.bytes, result.reply.len});
	if (e != OK)
		refuse(v, e, &result.detail, "There is no such notification.");
	buf_free(&data);
	act_result_free(&result);
}

/* A management act that leaves an audit line. False: it is not to be carried out, *res and the line say why. */
static bool may_order(struct visit *v, const char *event)
{
	if (may_ask(v, ORDER_COST))
		return true;
	v->audit.outcome = "refused";
	v->audit.why = v->res->why;
	audit_write(event, &v->audit);
	return false;
}

static struct admin_request request_of(const struct visit *v, const char *subject)
{
	return (struct admin_request){v->caller.user_id, role_text(v->caller.role), subject};
}

static const char no_connection[] = "There is no such connection.";

static void serve_health(struct visit *v)
{
	const struct buf nothing = BUF_EMPTY;
	struct admin_request r;
	char id[UUID_TEXT_SIZE];
	enum err e = OK;

	if (!read_id(v, id))
		return;
	if (!may_ask(v, ORDER_COST))
		return;
	r = request_of(v, id);
	e = connection_admin_health(v->worker->db, &r, WAIT_MS, &v->res->body);
	if (e != OK)
		refuse(v, e, &nothing, no_connection);
}

static void serve_disconnect(struct visit *v)
{
	const struct buf nothing = BUF_EMPTY;
	struct admin_request r;
	char id[UUID_TEXT_SIZE];
	bool gone = false;
	enum err e = OK;

	if (!read_id(v, id))
		return;
	r = request_of(v, id);
	v->audit.connection_id = id;
	if (!may_order(v, "manage_disconnect"))
		return;
	v->audit.outcome = "ok";
	e = connection_admin_disconnect(v->worker->db, &r, WAIT_MS, &gone);
	if (e != OK) {
		refuse(v, e, &nothing, no_connection);
	} else if (!gone) {
		response_refuse(v->res, 504, "The connection's node has not confirmed in time that it is closed.");
		v->audit.outcome = "not_confirmed";
	} else {
		buf_printf(&v->res->body, "{\"status\":\"disconnected\",\"connection_id\":\"%s\"}", id);
	}
	audit_write("manage_disconnect", &v->audit);
}

static void serve_reconnect(struct visit *v)
{
	const struct buf nothing = BUF_EMPTY;
	struct span part = route_part(v->route, v->request);
	struct buf user = BUF_EMPTY;
	int64_t connections = 0;
	struct admin_request r;
	enum err e = OK;

	buf_add(&user, part.bytes, part.len);
	if (!user_id_valid(part.bytes, part.len)) {
		response_refuse(v->res, 404, "There is nothing at this path.");
		buf_free(&user);
		return;
	}
	v->audit.key = "subject";
	v->audit.value = buf_ok(&user) ? user.bytes : NULL;
	if (!may_order(v, "manage_reconnect")) {
		buf_free(&user);
		return;
	}
	r = request_of(v, user.bytes);
	e = buf_ok(&user) ? connection_admin_reconnect(v->worker->db, &r, &connections) : ERR_MEMORY;
	v->audit.outcome = "ok";
	if (e != OK) {
		refuse(v, e, &nothing, "There is no such user.");
	} else {
		buf_add_text(&v->res->body, "{\"status\":\"reconnecting\",\"user_id\":");
		user_id_add_json(&v->res->body, user.bytes);
		buf_printf(&v->res->body, ",\"connections\":%" PRId64 "}", connections);
	}
	audit_write("manage_reconnect", &v->audit);
	buf_free(&user);
}

/* ---- all of them */

static void serve(void *context, const struct request *r, struct response *res)
{
	struct visit v = {.worker = context, .request = r, .res = res};

	v.route = route_find(routes, ARRAY_LEN(routes), r, res);
	if (!v.route || auth_check(v.worker->auth, r, &v.caller, res) != OK)
		return;
	v.audit = (struct audit){
		.user_id = v.caller.user_id,
		.role = role_text(v.caller.role),
		.path = r->path,
	};
	switch (v.route->id) {
	case RECEIPT:
		serve_receipt(&v);
		break;
	case HEALTH:
		serve_health(&v);
		break;
	case DISCONNECT:
		serve_disconnect(&v);
		break;
	case RECONNECT:
		serve_reconnect(&v);
		break;
	default:
		serve_saying(&v);
		break;
	}
}

int main(int argc, char **argv)
{
	struct config config;
	struct db_workers_job job = {
		.config = &config,
		.database_role = "tidings_publisher",
		.application_name = "tidings live",
		.threads_max = THREADS_MAX,
		.serve = serve,
	};
	struct request_limits *limits = NULL;
	enum err e = OK;

	config_start(&config, "live.fcgi", usage, argc, argv);
	e = request_limits_new(&limits, &config);
	job.shared = limits;
	if (e == OK)
		e = db_workers_run(&job);
	request_limits_free(&limits);
	if (e != OK)
		log_error("stopped: %s", err_text(e));
	return err_exit_status(e);
}
