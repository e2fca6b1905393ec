#include <string.h>

#include "base/clock.h"
#include "cli/client/exchange.h"
#include "cli/doctor/doctor.h"

#define WAIT_MS 5000

/* A request that whoever it is for answers, without a token: with anything but what a web server says of what it does not know. */
static const struct {
	const char *method, *path, *program;
} probes[] = {
	{"GET", "/ws/status", "status.fcgi"},
	{"POST", "/ws/publish", "broadcast.fcgi"},
	{"POST", "/ws/send", "live.fcgi"},
	{"GET", "/ws/history/1", "history.fcgi"},
	{"GET", "/api/diagnosis/1/feedback", "api.fcgi"},
	{"GET", "/poll/1?timeout=0", "tidings-ws"},
	{"GET", "/ws/1", "tidings-ws"},
};

/*
 *	well	out: it is handed on
 *
 * False: nobody is there, and nothing else needs to be asked.
 */
static bool ask(const char *url, const char *method, const char *path, const char *program, struct findings *f,
		bool *well)
{
	struct exchange_request request = {
		.method = method, .url = NULL, .body = strcmp(method, "POST") == 0 ? "{}" : NULL};
	struct exchange *x = NULL;
	struct buf address = BUF_EMPTY;
	long status = 0;
	enum err e = ERR_MEMORY;

	*well = false;
	exchange_add_url(&address, url, path);
	if (buf_ok(&address)) {
		request.url = address.bytes;
		e = exchange_begin(&x, &request);
	}
	if (e == OK)
		e = exchange_run(x, EXCHANGE_ENDED, clock_monotonic_ms() + WAIT_MS);
	status = e == OK ? exchange_status(x) : 0;
	if (e == ERR_EVICTED)
		findings_add(f, "web server", FINDING_WRONG,
			     "%s %s is not answered within %d s: does %s run, and what does the web "
			     "server's log say",
			     method, path, WAIT_MS / 1000, program);
	else if (e != OK)
		findings_add(f, "web server", FINDING_WRONG, "%s: %s; is it started, and is that its address", url,
			     x ? exchange_problem(x) : err_text(e));
	else if (status == 502 || status == 503 || status == 504)
		findings_add(f, "web server", FINDING_WRONG,
			     "%s %s is answered with %ld: the web server does not reach %s: is it "
			     "started, and on the socket that the web server's settings name",
			     method, path, status, program);
	else if (status == 404 || status == 405 || status < 200 || strstr(exchange_type(x), "json") == NULL)
		findings_add(
			f, "web server", FINDING_WRONG,
			"%s %s is answered with %ld: the web server does not hand it on to %s: "
			"its settings lack that route (lighttpd-routes.conf, or the examples for nginx and Apache)",
			method, path, status, program);
	else
		*well = true;
	exchange_end(&x);
	buf_free(&address);
	return e == OK || e == ERR_EVICTED;
}

bool doctor_web(const char *url, struct findings *f)
{
	size_t good = 0;

	for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
		bool well = false;

		if (!ask(url, probes[i].method, probes[i].path, probes[i].program, f, &well))
			return false;
		good += well;
	}
	if (good == ARRAY_LEN(probes))
		findings_add(f, "web server", FINDING_OK, "ok");
	return true;
}
