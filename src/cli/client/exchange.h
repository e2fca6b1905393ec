/*
 * exchange - one request by HTTP, and its reply as it comes: whole, or for as long as it is held open.
 *
 *	exchange_begin()	-> exchange_run(EXCHANGE_SENT) -> exchange_run(EXCHANGE_ENDED), or EXCHANGE_MORE again and again
 *
 * By libcurl, which the command alone links: addresses, TLS, proxies, chunks and deadlines are its own.
 *
 * Layer    cli.
 * Threads  one at a time.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

struct exchange; /* opaque */

/*
 * Appends the address of a path.
 *
 *	server	http://localhost:8000, with a / at its end or without
 *	path	with a / in front
 */
void exchange_add_url(struct buf *out, const char *server, const char *path);

/* All borrowed until exchange_begin() returns. */
struct exchange_request {
	const char *method;
	const char *url;
	const char *socket; /* the path of one that is connected to, whatever host `url` names; NULL: that host */
	const char *token;  /* NULL: none */
	const char *body;   /* JSON; NULL: none */
};

/* How far it is to go. */
enum exchange_point {
	EXCHANGE_SENT, /* the request is on its way */
	EXCHANGE_MORE, /* something of the body has come */
	EXCHANGE_ENDED /* all of it has */
};

/* ERR_MEMORY, ERR_INPUT: no address of a web server */
enum err exchange_begin(struct exchange **x, const struct exchange_request *r) MUST_CHECK;

/*
 * Until then, or until it has ended.
 *
 *	until_ms	of clock_monotonic_ms()
 *
 * ERR_AWAY     it has failed: exchange_problem()
 * ERR_EVICTED  not until then
 */
enum err exchange_run(struct exchange *x, enum exchange_point point, int64_t until_ms) MUST_CHECK;

/* 0: there is none yet. */
long exchange_status(const struct exchange *x);

/* What of the body has come so far: lent until the next exchange_run(). */
const struct buf *exchange_body(const struct exchange *x);

/* "application/json"; "": not known. Lent. */
const char *exchange_type(const struct exchange *x);

/* Why it has failed, in libcurl's words. Lent. */
const char *exchange_problem(const struct exchange *x);

void exchange_end(struct exchange **x);
