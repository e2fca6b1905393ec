#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/metrics/metrics.h"
#include "cli/client/exchange.h"
#include "cli/client/own_token.h"
#include "cli/doctor/doctor.h"

#define WAIT_MS 5000
#define AGAIN_MS 200 /* where something is missing that the database has not told yet */
#define TOKEN_TTL_S 120

static const char about[] = "metrics";

/* A series that is told there, of whom it is, and why it may be missing. */
struct part {
	const char *series, *of, *advice;
};

struct door {
	const char *name;   /* for a sentence */
	const char *url;    /* borrowed */
	const char *socket; /* borrowed; NULL: by the URL */
	const char *program;
	const struct part *parts;
	size_t parts_count;
};

#define PROGRAM(NAME)                                                                          \
	{                                                                                      \
		"tidings_http_threads{program=\"" NAME "\"}", NAME ".fcgi",                    \
			"has it the same TIDINGS_STATE as status.fcgi, and may it write there" \
	}

static const struct part web_parts[] = {
	PROGRAM("api"),
	PROGRAM("broadcast"),
	PROGRAM("live"),
	PROGRAM("status"),
	PROGRAM("history"),
	{"tidings_schema_version ", "the queue", "does the database answer status.fcgi within a second"},
};

static const struct part sidecar_parts[] = {
	{"tidings_connections{", "a sidecar's clients", "is it tidings-ws that answers there"},
	{"tidings_database_up{", "a sidecar's database", "is it tidings-ws that answers there"},
};

/* NULL: nothing is missing. */
static const struct part *find_missing(const struct door *d, const struct buf *text)
{
	for (size_t i = 0; i < d->parts_count; i++)
		if (text->len == 0 || !memmem(text->bytes, text->len, d->parts[i].series, strlen(d->parts[i].series)))
			return &d->parts[i];
	return NULL;
}

static void tell_status(const struct door *d, const struct config *c, bool has_token, long status, struct findings *f)
{
	bool refused = status == 401 || status == 403;

	if (status == 403 && c->metrics == METRICS_LOCAL)
		findings_add(f, about, FINDING_NOTE,
			     "%s is refused to this machine, or to who comes through a proxy, as TIDINGS_METRICS=local "
			     "says: "
			     "Prometheus has to ask on the machine of %s",
			     d->name, d->program);
	else if (refused && c->metrics == METRICS_TOKEN && !has_token)
		findings_add(f, about, FINDING_HIDDEN,
			     "%s takes an admin's token, and this user has no secret to make one with", d->name);
	else if (refused)
		findings_add(f, about, FINDING_WRONG,
			     "%s is answered with %ld: %s was started with other keys, or another TIDINGS_METRICS, "
			     "than these: "
			     "restart it",
			     d->name, status, d->program);
	else if (status == 404 || status == 405)
		findings_add(f, about, FINDING_WRONG,
			     "%s is answered with %ld: it is not handed on to %s, or that was started with "
			     "TIDINGS_METRICS=off",
			     d->name, status, d->program);
	else
		findings_add(f, about, FINDING_WRONG, "%s is answered with %ld: is %s started", d->name, status,
			     d->program);
}

/*
 * Asks again for a while where something is missing.
 *
 *	x	out: taken, also when not OK
 *	missing	out: NULL, nothing is, or there is no such reply
 */
static enum err ask(const struct door *d, const struct buf *token, struct exchange **x, const struct part **missing)
{
	struct exchange_request request = {
		.method = "GET", .url = d->url, .socket = d->socket, .token = token->len > 0 ? token->bytes : NULL};
	int64_t until_ms = clock_monotonic_ms() + WAIT_MS;
	enum err e = OK;

	for (;;) {
		e = exchange_begin(x, &request);
		if (e == OK)
			e = exchange_run(*x, EXCHANGE_ENDED, clock_monotonic_ms() + WAIT_MS);
		*missing = e == OK && exchange_status(*x) == 200 ? find_missing(d, exchange_body(*x)) : NULL;
		if (!*missing || clock_monotonic_ms() >= until_ms)
			return e;
		exchange_end(x);
		(void)poll(NULL, 0, AGAIN_MS);
	}
}

/* False: something was told. */
static bool look_at_door(const struct door *d, const struct config *c, const struct buf *token, struct findings *f)
{
	const struct part *missing = NULL;
	struct exchange *x = NULL;
	enum err e = ask(d, token, &x, &missing);
	bool good = e == OK && exchange_status(x) == 200 && !missing;

	if (e == ERR_EVICTED)
		findings_add(f, about, FINDING_WRONG, "%s is not answered within %d s: does %s hang", d->name,
			     WAIT_MS / 1000, d->program);
	else if (e != OK)
		findings_add(f, about, FINDING_WRONG, "%s: %s; is %s started", d->name,
			     x ? exchange_problem(x) : err_text(e), d->program);
	else if (missing)
		findings_add(f, about, FINDING_WRONG, "%s tells nothing of %s: %s", d->name, missing->of,
			     missing->advice);
	else if (!good)
		tell_status(d, c, token->len > 0, exchange_status(x), f);
	exchange_end(&x);
	return good;
}

/* Empty: there is none to be had, or none is needed. */
static void make_token(const struct config *c, struct buf *token)
{
	struct token_rules rules = token_rules_of(c);
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;

	if (c->metrics == METRICS_TOKEN && token_keys_load(&keys, c->jwt_keys, &rules, &problem) == OK &&
	    own_token_make(keys, ROLE_ADMIN, TOKEN_TTL_S, token) != OK)
		buf_clear(token);
	token_keys_free(&keys);
	buf_free(&problem);
}

void doctor_metrics(const struct config *c, const char *web_url, struct findings *f)
{
	const char *path = c->ws_socket && *c->ws_socket ? c->ws_socket : NULL;
	bool is_ipv6 = strchr(c->ws_address, ':') != NULL, good = true;
	struct buf web = BUF_EMPTY, sidecar = BUF_EMPTY, sidecar_name = BUF_EMPTY, token = BUF_EMPTY;

	if (c->metrics == METRICS_OFF) {
		findings_add(f, about, FINDING_NOTE,
			     "TIDINGS_METRICS=off: nobody may ask for them, and no alert fires");
		return;
	}
	buf_printf(&web, "%s/metrics", web_url ? web_url : "");
	buf_printf(&sidecar, "http://%s%s%s:%lld/metrics", is_ipv6 ? "[" : "", c->ws_address, is_ipv6 ? "]" : "",
		   (long long)c->ws_port);
	buf_printf(&sidecar_name, "%s%s", path ? "/metrics on " : "", path ? path : sidecar.bytes);
	make_token(c, &token);
	if (!buf_ok(&web) || !buf_ok(&sidecar) || !buf_ok(&sidecar_name)) {
		findings_add(f, about, FINDING_WRONG, "%s", err_text(ERR_MEMORY));
		good = false;
	} else {
		struct door of_web = {web.bytes, web.bytes, NULL, "status.fcgi", web_parts, ARRAY_LEN(web_parts)};
		struct door of_sidecar = {sidecar_name.bytes, sidecar.bytes, path,
					  "tidings-ws",	      sidecar_parts, ARRAY_LEN(sidecar_parts)};

		good = !web_url || look_at_door(&of_web, c, &token, f);
		good = look_at_door(&of_sidecar, c, &token, f) && good;
	}
	if (good)
		findings_add(f, about, FINDING_OK, "ok");
	own_token_forget(&token);
	buf_free(&web);
	buf_free(&sidecar);
	buf_free(&sidecar_name);
}
