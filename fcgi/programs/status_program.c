/*
 * status.fcgi - how things are (spec 3.4), what is counted, and the web server's own errors in the form of ours.
 *
 * lighttpd's server.error-handler asks for /problem, with what went wrong in REDIRECT_STATUS.
 */
#include "store/request/status.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log/log.h"
#include "base/process/config.h"
#include "fcgi/db_workers.h"
#include "fcgi/programs/status_metrics.h"
#include "fcgi/route.h"

#define THREADS_MAX 4

static const char usage[] =
	"Usage: status.fcgi [--check-config | --version | --help]\n"
	"Answers /health, /health/live, /health/ready, /ws/status and /metrics by FastCGI on descriptor 0, "
	"where a web server starts it.\n"
	"Configured by TIDINGS_ variables: see tidings.conf(5).\n";

enum { STATUS, HEALTH, LIVE, READY, METRICS };

static const struct route routes[] = {
	{"GET", "/ws/status", STATUS},	 {"GET", "/health", HEALTH},   {"GET", "/health/live", LIVE},
	{"GET", "/health/ready", READY}, {"GET", "/metrics", METRICS},
};

/* TIDINGS_STATUS */
enum { TOTALS, PUBLIC, PRIVATE };

/* False: it is refused. */
static bool may_see_status(struct db_worker *worker, const struct request *r, bool *totals_only, struct response *res)
{
	struct token_claims caller;
	enum err e;

	*totals_only = false;
	if (worker->config->status == PUBLIC)
		return true;
	e = auth_check(worker->auth, r, &caller, res);
	if (worker->config->status == TOTALS && (e == OK || e == ERR_NOT_FOUND)) {
		response_free(res);
		*res = RESPONSE_NEW;
		*totals_only = e != OK || caller.role != ROLE_ADMIN;
		return true;
	}
	if (e != OK)
		return false;
	if (caller.role == ROLE_ADMIN)
		return true;
	response_refuse(res, 403, "Only administrators may see the status.");
	return false;
}

static bool is_healthy(const struct health_report *h)
{
	for (int i = 0; i < CHECKS_COUNT; i++)
		if (h->checks[i] != HEALTHY)
			return false;
	return true;
}

static const char *health_text(bool healthy)
{
	return healthy ? "healthy" : "unhealthy";
}

static void serve_status(struct db_worker *worker, const struct request *r, struct response *res)
{
	struct buf status = BUF_EMPTY;
	char read[CLOCK_TEXT_SIZE];
	struct health_report health;
	int64_t read_us = 0;
	bool totals_only;
	enum err e = OK;

	if (!may_see_status(worker, r, &totals_only, res))
		return;
	e = status_read(worker->shared, totals_only, &status, &health, &read_us);
	if (e != OK) {
		response_fault(res, e);
	} else {
		buf_printf(&res->body, "{\"status\":\"%s\",\"timestamp\":\"%s\",", health_text(is_healthy(&health)),
			   clock_text(read, read_us));
		buf_add(&res->body, status.bytes + 1, status.len - 1); /* it is an object, and never an empty one */
	}
	buf_free(&status);
}

/* Everything that a client could ask for works, where `ready` is wanted. */
static void serve_health(struct db_worker *worker, bool ready, struct response *res)
{
	static const char *const names[] = {
		[CHECK_DATABASE] = "database",
		[CHECK_SIDECAR] = "sidecar",
		[CHECK_RELAY] = "relay",
		[CHECK_PUBLISHING] = "publishing",
	};
	static const char *const conditions[] = {
		[HEALTHY] = "healthy", [UNHEALTHY] = "unhealthy", [UNKNOWN] = "unknown"};
	struct health_report health;
	char now[CLOCK_TEXT_SIZE];

	status_health(worker->shared, &health);
	if (ready)
		health.checks[CHECK_SIDECAR] = health.sidecar_ready;
	if (!is_healthy(&health) || (ready && health.schema != HEALTHY)) {
		res->status = 503;
		res->retry_after_s = 5;
	}
	buf_printf(&res->body, "{\"status\":\"%s\",\"timestamp\":\"%s\",\"checks\":{", health_text(res->status == 200),
		   clock_text(now, clock_wall_us()));
	for (int i = 0; i < CHECKS_COUNT; i++)
		buf_printf(&res->body, "%s\"%s\":\"%s\"", i > 0 ? "," : "", names[i], conditions[health.checks[i]]);
	if (ready)
		buf_printf(&res->body, ",\"schema\":\"%s\"", conditions[health.schema]);
	buf_add_text(&res->body, "}}");
}

static void serve_live(struct response *res)
{
	char now[CLOCK_TEXT_SIZE];

	buf_printf(&res->body, "{\"status\":\"%s\",\"timestamp\":\"%s\"}", health_text(true),
		   clock_text(now, clock_wall_us()));
}

/* What the web server refuses or fails at, with its status; 0: this is no such request. */
static int web_server_error(const struct request *r)
{
	const char *script = request_param(r, "SCRIPT_NAME");
	const char *status = request_param(r, "REDIRECT_STATUS");
	long code = status && script && strcmp(script, "/problem") == 0 ? strtol(status, NULL, 10) : 0;

	return code >= 400 && code <= 599 ? (int)code : 0;
}

static void serve_error(int status, struct response *res)
{
	static const struct {
		int status;
		const char *detail;
	} details[] = {
		{400, "The request is malformed."},
		{404, "There is nothing at this path."},
		{405, "This path does not take this method."},
		{408, "The request took too long to arrive."},
		{411, "Content-Length is required."},
		{413, "The body is larger than is allowed here."},
		{414, "The address is too long."},
		{431, "The headers are too large."},
		{502, "The service behind this server gave no usable answer."},
		{503, "This is not possible at the moment: try again in a few seconds."},
		{504, "The service behind this server took too long to answer."},
	};

	for (size_t i = 0; i < ARRAY_LEN(details); i++) {
		if (details[i].status == status) {
			response_refuse(res, status, details[i].detail);
			return;
		}
	}
	response_refuse(res, status,
			status < 500 ? "The request cannot be served." : "Something went wrong on our side.");
}

static void serve(void *context, const struct request *r, struct response *res)
{
	int error = web_server_error(r);
	const struct route *route = NULL;

	if (error != 0) {
		serve_error(error, res);
		return;
	}
	route = route_find(routes, ARRAY_LEN(routes), r, res);
	if (!route)
		return;
	switch (route->id) {
	case STATUS:
		serve_status(context, r, res);
		break;
	case LIVE:
		serve_live(res);
		break;
	case METRICS:
		status_metrics_serve(context, r, res);
		break;
	default:
		serve_health(context, route->id == READY, res);
		break;
	}
}

int main(int argc, char **argv)
{
	struct config config;
	static struct metrics metrics; /* its numbers stay until the process ends */
	struct db_workers_job job = {
		.config = &config,
		.metrics = &metrics,
		.threads_max = THREADS_MAX,
		.serve = serve,
	};
	struct status *status = NULL;
	enum err e = OK;

	config_start(&config, "status.fcgi", usage, argc, argv);
	server_block_signals(); /* in the threads that read too */
	e = route_open_metrics(&metrics, &config, "status", routes, ARRAY_LEN(routes));
	if (e == OK)
		e = status_open(&status, &config);
	job.shared = status;
	if (e == OK)
		e = db_workers_run(&job);
	status_close(&status);
	if (e != OK)
		log_error("stopped: %s", err_text(e));
	return err_exit_status(e);
}
