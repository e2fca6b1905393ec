/*
 * status.fcgi - how things are (spec 3.4), and the web server's own errors in the form of ours.
 *
 * lighttpd's server.error-handler asks for /problem, with what went wrong in REDIRECT_STATUS.
 */
#include "store/status.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "fcgi/clerks.h"
#include "fcgi/route.h"

#define THREADS_MAX 4

static const char usage[] = "Usage: status.fcgi [--check-config | --version | --help]\n"
			    "Answers /health and /ws/status by FastCGI on descriptor 0, where a web server starts it.\n"
			    "Configured by TIDINGS_ variables: see tidings.conf(5).\n";

enum { STATUS, HEALTH };

static const struct route routes[] = {
	{"GET", "/ws/status", STATUS},
	{"GET", "/health", HEALTH},
};

static bool may_see_status(struct clerk *clerk, const struct request *r, struct response *res)
{
	struct token_claims caller;

	if (!clerk->config->status)
		return true;
	if (caller_check(clerk->callers, r, &caller, res) != OK)
		return false;
	if (caller.role == ROLE_ADMIN)
		return true;
	response_refuse(res, 403, "Only administrators may see the status.");
	return false;
}

static bool works(const struct health *h)
{
	return h->nodes > 0 && !h->stuck;
}

static void serve_status(struct clerk *clerk, const struct request *r, struct response *res)
{
	struct buf status = BUF_EMPTY;
	struct health health = {.outbox = BUF_EMPTY};
	char now[CLOCK_TEXT_SIZE];
	enum err e = OK;

	if (!may_see_status(clerk, r, res))
		return;
	e = status_read(clerk->db, &status);
	if (e == OK)
		e = status_health(clerk->db, &health);
	if (e == OK && !(buf_ok(&status) && buf_ok(&health.outbox)))
		e = ERR_MEMORY;
	if (e != OK) {
		response_fault(res, e);
	} else {
		buf_printf(&res->body, "{\"status\":\"%s\",\"timestamp\":\"%s\",\"outbox\":",
			   works(&health) ? "healthy" : "unhealthy", clock_text(now, clock_wall_us()));
		buf_add(&res->body, health.outbox.bytes, health.outbox.len);
		buf_add_text(&res->body, ",");
		buf_add(&res->body, status.bytes + 1, status.len - 1); /* it is an object, and never an empty one */
	}
	buf_free(&health.outbox);
	buf_free(&status);
}

static void serve_health(struct clerk *clerk, struct response *res)
{
	struct health health = {.outbox = BUF_EMPTY};
	enum err e = status_health(clerk->db, &health);
	char now[CLOCK_TEXT_SIZE];

	if (e != OK || !works(&health)) {
		res->status = 503;
		res->retry_after_s = 5;
	}
	buf_printf(&res->body,
		   "{\"status\":\"%s\",\"timestamp\":\"%s\",\"checks\":{\"database\":\"%s\",\"sidecar\":\"%s\","
		   "\"relay\":\"%s\"}}",
		   res->status == 200 ? "healthy" : "unhealthy", clock_text(now, clock_wall_us()),
		   e == OK ? "healthy" : "unhealthy",
		   e != OK	      ? "unknown"
		   : health.nodes > 0 ? "healthy"
				      : "unhealthy",
		   e != OK	   ? "unknown"
		   : !health.stuck ? "healthy"
				   : "unhealthy");
	buf_free(&health.outbox);
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
	if (route->id == STATUS)
		serve_status(context, r, res);
	else
		serve_health(context, res);
}

int main(int argc, char **argv)
{
	struct config config;
	const struct clerks_job job = {
		.config = &config,
		.database_role = "tidings_reader",
		.application_name = "tidings status",
		.threads_max = THREADS_MAX,
		.serve = serve,
	};
	enum err e = OK;

	config_start(&config, "status.fcgi", usage, argc, argv);
	e = clerks_run(&job);
	if (e != OK)
		log_error("stopped: %s", err_text(e));
	return err_exit_status(e);
}
