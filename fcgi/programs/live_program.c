/*
 * live.fcgi - live health by HTTP (spec sections 3.3, 3.4 and 6): its broadcasts, what clients without WebSocket have
 * to say, and the management of connections.
 */
#include <string.h>

#include "base/log/log.h"
#include "base/process/config.h"
#include "domain/dialog/act_reply.h"
#include "fcgi/db_workers.h"
#include "fcgi/live/live_act.h"
#include "fcgi/live/live_connections.h"
#include "fcgi/live/live_devices.h"
#include "fcgi/live/live_operator.h"
#include "fcgi/live/live_roster.h"
#include "fcgi/live/live_visit.h"
#include "fcgi/metrics/program_metrics.h"
#include "fcgi/request_limits.h"

#define THREADS_MAX 16

static const char usage[] =
	"Usage: live.fcgi [--check-config | --version | --help]\n"
	"Takes health readings, chat messages and notifications by FastCGI on descriptor 0, where a web server\n"
	"starts it, and manages connections, topics, nodes and the outbox. Configured by TIDINGS_ variables: see "
	"tidings.conf(5).\n";

enum {
	BROADCAST_CHAT,
	BROADCAST_HEALTH,
	BROADCAST_NOTIFICATION,
	SEND,
	RECEIPT,
	HEALTH,
	DISCONNECT,
	RECONNECT,
	CONNECTIONS,
	TOPICS,
	OUTBOX,
	RETRY,
	DROP,
	REVOKE,
	DRAIN,
	DEVICES,
	FORGET_DEVICE,
	PRESENCE,
};

static const struct route routes[] = {
	{"POST", "/ws/broadcast-chat-message", BROADCAST_CHAT},
	{"POST", "/ws/broadcast-health-update", BROADCAST_HEALTH},
	{"POST", "/ws/broadcast-notification", BROADCAST_NOTIFICATION},
	{"POST", "/ws/send", SEND},
	{"GET", "/ws/notification/*/receipt", RECEIPT},
	{"GET", "/ws/connection/*/health", HEALTH},
	{"DELETE", "/ws/connection/*", DISCONNECT},
	{"POST", "/ws/user/**/reconnect", RECONNECT},
	{"GET", "/ws/connections", CONNECTIONS},
	{"GET", "/ws/topics", TOPICS},
	{"GET", "/ws/outbox", OUTBOX},
	{"POST", "/ws/outbox/*/retry", RETRY},
	{"DELETE", "/ws/outbox/*", DROP},
	{"POST", "/ws/topic/**/revoke", REVOKE},
	{"POST", "/ws/node/*/drain", DRAIN},
	{"GET", "/ws/devices", DEVICES},
	{"DELETE", "/ws/devices/*", FORGET_DEVICE},
	{"GET", "/ws/presence", PRESENCE},
};

/* ---- acts */

static void refuse_own_type(struct live_visit *v)
{
	struct problem problem = PROBLEM_NONE;

	problem_add_field(&problem, "", "type", "means something on a WebSocket only");
	response_problem(v->res, &problem);
	problem_free(&problem);
}

static bool read_act(struct live_visit *v, struct live_act *a)
{
	struct client_fault fault = CLIENT_FAULT_NONE;
	struct span body = {a->body.bytes ? a->body.bytes : "", a->body.len};
	enum err e = OK;

	switch (v->route->id) {
	case BROADCAST_CHAT:
		e = client_message_read_body(&a->message, CLIENT_BROADCAST_CHAT, body, &fault);
		break;
	case BROADCAST_HEALTH:
		e = client_message_read_body(&a->message, CLIENT_BROADCAST_HEALTH, body, &fault);
		break;
	case BROADCAST_NOTIFICATION:
		e = client_message_read_body(&a->message, CLIENT_NOTIFY, body, &fault);
		break;
	default:
		e = client_message_read(&a->message, body, &fault);
		break;
	}
	if (!live_act_read(v, a, e, &fault))
		return false;
	if (!client_type_is_act(a->message.type))
		refuse_own_type(v);
	return v->res->status == 200;
}

static void reply(struct live_visit *v, const struct live_act *a)
{
	struct span said = {a->result.reply.bytes, a->result.reply.len};

	if (v->route->id == SEND)
		buf_add(&v->res->body, said.bytes, said.len);
	else if (act_reply_write_broadcast(&v->res->body, said, a->result.topic, a->result.seq, a->result.clients) !=
		 OK)
		response_fault(v->res, ERR_UNKNOWN);
}

static void serve_act(struct live_visit *v)
{
	struct request_limits *limits = v->worker->shared;
	struct live_act a = LIVE_ACT_NONE;

	v->audit.outcome = "refused";
	if (live_visit_may_ask(v, RATE_ONE) && request_limits_body(limits, v->request, &a.body, v->res) &&
	    read_act(v, &a) && live_act_carry_out(v, &a))
		reply(v, &a);
	v->audit.why = v->res->why;
	audit_write("publish", &v->audit);
	metrics_add(v->worker->metrics, METRIC_PUBLISHED_MESSAGES, program_metrics_published(v->res->status), 0, 1);
	live_act_free(&a);
}

static void serve_receipt(struct live_visit *v)
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

	if (!live_visit_read_id(v, id) || !live_visit_may_ask(v, RATE_ONE))
		return;
	buf_printf(&data, "{\"id\":\"%s\"}", id);
	act.data = data.bytes;
	e = buf_ok(&data) ? act_run(v->worker->db, &act, NULL, (struct span){0}, &result) : ERR_MEMORY;
	if (e == OK)
		e = result.outcome;
	if (e == OK)
		e = act_reply_write_data(&v->res->body, (struct span){result.reply.bytes, result.reply.len});
	if (e != OK)
		live_visit_refuse(v, e, &result.detail, "There is no such notification.");
	buf_free(&data);
	act_result_free(&result);
}

/* ---- all of them */

static void serve(void *context, const struct request *r, struct response *res)
{
	struct live_visit v = {.worker = context, .request = r, .res = res};

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
		live_connection_health(&v);
		break;
	case DISCONNECT:
		live_connection_disconnect(&v);
		break;
	case RECONNECT:
		live_connection_reconnect(&v);
		break;
	case CONNECTIONS:
		live_operator_connections(&v);
		break;
	case TOPICS:
		live_operator_topics(&v);
		break;
	case OUTBOX:
		live_operator_outbox(&v);
		break;
	case RETRY:
		live_operator_retry(&v);
		break;
	case DROP:
		live_operator_drop(&v);
		break;
	case REVOKE:
		live_operator_revoke(&v);
		break;
	case DRAIN:
		live_operator_drain(&v);
		break;
	case DEVICES:
		live_devices_list(&v);
		break;
	case FORGET_DEVICE:
		live_devices_forget(&v);
		break;
	case PRESENCE:
		live_roster_page(&v);
		break;
	default:
		serve_act(&v);
		break;
	}
}

int main(int argc, char **argv)
{
	struct config config;
	static struct metrics metrics; /* counted in until the process ends */
	struct db_workers_job job = {
		.config = &config,
		.metrics = &metrics,
		.database_role = "tidings_publisher",
		.application_name = "tidings live",
		.threads_max = THREADS_MAX,
		.serve = serve,
	};
	struct request_limits *limits = NULL;
	enum err e = OK;

	config_start(&config, "live.fcgi", usage, argc, argv);
	e = route_open_metrics(&metrics, &config, "live", routes, ARRAY_LEN(routes));
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
