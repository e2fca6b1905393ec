/* The three ways in which a client listens. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/canary/canary.h"
#include "cli/report.h"
#include "domain/caller/claims.h"
#include "domain/text/json.h"

enum err canary_fail(struct canary *c, enum err e, const char *what, const char *why)
{
	buf_clear(&c->problem);
	buf_printf(&c->problem, "%s: %s", what, why);
	return e;
}

static bool has_nonce(const struct canary *c, const struct buf *text)
{
	return text->len > 0 && memmem(text->bytes, text->len, c->nonce, strlen(c->nonce));
}

static enum err late(struct canary *c, const char *what)
{
	char why[64];

	snprintf(why, sizeof(why), "nothing came within %d s", (int)c->timeout_s);
	return canary_fail(c, ERR_EVICTED, what, why);
}

/* ---- WebSocket */

static enum err websocket_failed(struct canary *c, enum err e, const char *what)
{
	return e == ERR_EVICTED ? late(c, what) : canary_fail(c, e, what, websocket_client_problem(c->websocket));
}

static enum err open_websocket(struct canary *c, int64_t until_ms)
{
	struct buf url = BUF_EMPTY, first = BUF_EMPTY;
	enum err e = ERR_MEMORY;

	exchange_add_url(&url, c->url, "/ws?topics=");
	buf_add_text(&url, c->topic);
	if (buf_ok(&url))
		e = websocket_client_open(&c->websocket, url.bytes, c->listener.bytes, until_ms);
	/* One who is refused is told so, before the close. */
	while (e == OK && !(first.len > 0 && strstr(first.bytes, "\"connect\"")))
		e = websocket_client_read(c->websocket, until_ms, &first);
	if (e != OK)
		e = websocket_failed(c, e, "connecting");
	buf_free(&url);
	buf_free(&first);
	return e;
}

static enum err hear_websocket(struct canary *c, int64_t until_ms, struct buf *text)
{
	enum err e = OK;

	/* Others' messages, however many, do not put the end off. */
	while (e == OK && !has_nonce(c, text))
		e = clock_monotonic_ms() < until_ms ? websocket_client_read(c->websocket, until_ms, text) : ERR_EVICTED;
	return e == OK ? OK : websocket_failed(c, e, "listening");
}

/* ---- requests */

/*	path	with a topic after it, and `more` after that */
static enum err begin(struct canary *c, const char *path, const char *more)
{
	struct exchange_request request = {.method = "GET", .token = c->listener.bytes};
	struct buf url = BUF_EMPTY;
	enum err e = ERR_MEMORY;

	exchange_end(&c->exchange);
	exchange_add_url(&url, c->url, path);
	buf_printf(&url, "?topics=%s%s", c->topic, more);
	if (buf_ok(&url)) {
		request.url = url.bytes;
		e = exchange_begin(&c->exchange, &request);
	}
	buf_free(&url);
	return e;
}

enum err canary_run(struct canary *c, struct exchange *x, enum exchange_point point, int64_t until_ms, const char *what)
{
	enum err e = clock_monotonic_ms() < until_ms ? exchange_run(x, point, until_ms) : ERR_EVICTED;
	char status[48];

	if (e == ERR_EVICTED)
		return late(c, what);
	if (e != OK)
		return canary_fail(c, e, what, exchange_problem(x));
	snprintf(status, sizeof(status), "it is answered with %ld", exchange_status(x));
	return point != EXCHANGE_SENT && exchange_status(x) != 200 ? canary_fail(c, ERR_FORBIDDEN, what, status) : OK;
}

/* ---- an event stream */

static enum err open_sse(struct canary *c, int64_t until_ms)
{
	enum err e = begin(c, "/sse", "");

	/* The first event is whole when an empty line has come. */
	while (e == OK && !(exchange_body(c->exchange)->len > 0 && strstr(exchange_body(c->exchange)->bytes, "\n\n")))
		e = canary_run(c, c->exchange, EXCHANGE_MORE, until_ms, "connecting");
	if (e == ERR_EVICTED)
		buf_add_text(&c->problem,
			     ": where polls come through, a proxy in between keeps event streams to itself (nginx: "
			     "proxy_buffering off)");
	return e;
}

/* Whether the event with the nonce is whole: it ends with an empty line. A stream may have anything in it, NUL too. */
static bool has_whole_event(const struct canary *c, const struct buf *text)
{
	const char *nonce = text->len > 0 ? memmem(text->bytes, text->len, c->nonce, strlen(c->nonce)) : NULL;

	return nonce && memmem(nonce, text->len - (size_t)(nonce - text->bytes), "\n\n", 2);
}

static enum err hear_sse(struct canary *c, int64_t until_ms, struct buf *text)
{
	enum err e = OK;

	while (e == OK && !has_whole_event(c, exchange_body(c->exchange)))
		e = canary_run(c, c->exchange, EXCHANGE_MORE, until_ms, "listening");
	buf_add(text, exchange_body(c->exchange)->bytes, exchange_body(c->exchange)->len);
	return e;
}

/* ---- polls */

/* The cursor of a reply that has ended, for the next. */
static enum err take_cursor(struct canary *c)
{
	const struct buf *body = exchange_body(c->exchange);
	json_object *reply = NULL;
	const char *problem = NULL, *cursor = NULL;
	enum err e = json_read(&reply, body->len > 0 ? body->bytes : "", body->len, &problem);

	if (e == OK)
		cursor = claims_text(report_member(reply, "cursor"));
	buf_clear(&c->cursor);
	buf_add_text(&c->cursor, cursor ? cursor : "");
	json_object_put(reply);
	return cursor && buf_ok(&c->cursor) ? OK : canary_fail(c, ERR_INPUT, "polling", "a reply has no cursor");
}

static enum err begin_poll(struct canary *c)
{
	struct buf more = BUF_EMPTY;
	enum err e = ERR_MEMORY;

	buf_printf(&more, "&cursor=%s&timeout=%d", c->cursor.bytes, (int)c->timeout_s);
	if (buf_ok(&more))
		e = begin(c, "/poll", more.bytes);
	buf_free(&more);
	return e;
}

/* The second poll is held when the message is published. */
static enum err open_poll(struct canary *c, int64_t until_ms)
{
	enum err e = begin(c, "/poll", "&timeout=0");

	if (e == OK)
		e = canary_run(c, c->exchange, EXCHANGE_ENDED, until_ms, "polling");
	if (e == OK)
		e = take_cursor(c);
	if (e == OK)
		e = begin_poll(c);
	if (e == OK)
		e = canary_run(c, c->exchange, EXCHANGE_SENT, until_ms, "polling");
	return e;
}

static enum err hear_poll(struct canary *c, int64_t until_ms, struct buf *text)
{
	for (;;) {
		enum err e = canary_run(c, c->exchange, EXCHANGE_ENDED, until_ms, "polling");

		if (e == OK && has_nonce(c, exchange_body(c->exchange))) {
			buf_add(text, exchange_body(c->exchange)->bytes, exchange_body(c->exchange)->len);
			return OK;
		}
		if (e == OK)
			e = take_cursor(c);
		if (e == OK)
			e = begin_poll(c);
		if (e != OK)
			return e;
	}
}

const struct listening canary_ways[CANARY_WAYS] = {
	{"websocket", open_websocket, hear_websocket},
	{"sse", open_sse, hear_sse},
	{"long-poll", open_poll, hear_poll},
};
