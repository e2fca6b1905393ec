#include "ws/voices.h"

#include <inttypes.h>

#include "domain/cursor.h"
#include "domain/frame.h"
#include "domain/message.h"
#include "domain/problem.h"

#define RETRY_MS 2000 /* a browser's own wait before it reconnects an event stream */
#define RETRY_AFTER_S 5

/* ---- WebSocket: spec section 4 */

static void add_frame(struct buf *out, struct span text)
{
	uint8_t header[FRAME_HEADER_MAX];

	buf_add(out, header, frame_text_header(header, text.len));
	buf_add(out, text.bytes, text.len);
}

static void add_text_frame(struct buf *out, struct buf *text)
{
	add_frame(out, (struct span){text->bytes, text->len});
	if (!buf_ok(text))
		out->failed = true;
	buf_free(text);
}

static void websocket_welcome(struct buf *out, const struct session *s, const struct dialog_welcome *w)
{
	struct buf text = BUF_EMPTY;

	dialog_connect(&text, &s->dialog, w, clock_wall_us());
	add_text_frame(out, &text);
}

static void websocket_missed_begin(struct buf *out, const struct session *s)
{
	dialog_missed_begin(out, &s->dialog);
}

static void websocket_missed_add(struct buf *out, const struct session *s, bool first, struct span message)
{
	(void)s;
	dialog_missed_add(out, first, message);
}

/* Only now is its length known. */
static void websocket_missed_end(struct buf *out, const struct session *s)
{
	struct buf text = *out;

	(void)s;
	*out = BUF_EMPTY;
	dialog_missed_end(&text);
	add_text_frame(out, &text);
}

static void websocket_message(struct buf *out, const struct session *s, struct span message)
{
	(void)s;
	add_frame(out, message);
}

static void websocket_heartbeat(struct buf *out)
{
	buf_add(out, FRAME_PING, FRAME_PING_SIZE);
}

static void websocket_goodbye(struct buf *out, const struct session *s)
{
	uint8_t frame[FRAME_CLOSE_MAX];

	buf_add(out, frame, frame_close(frame, s->close_code, s->close_reason));
}

const struct voice voice_websocket = {
	.welcome = websocket_welcome,
	.missed_begin = websocket_missed_begin,
	.missed_add = websocket_missed_add,
	.missed_end = websocket_missed_end,
	.message = websocket_message,
	.heartbeat = websocket_heartbeat,
	.goodbye = websocket_goodbye,
	.frames_as_they_are = true,
	.answers_heartbeats = true,
};

/* ---- HTTP: spec section 5 */

static void add_head(struct buf *out, const struct session *s, int status, const char *type, size_t length)
{
	buf_printf(out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n",
		   status, status == 200 ? "OK" : problem_title(status), type);
	if (length != SIZE_MAX)
		buf_printf(out, "Content-Length: %zu\r\n", length);
	if (s->allowed_origin)
		buf_printf(out, "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\n", s->allowed_origin);
	if (status == 401)
		buf_add_text(out, "WWW-Authenticate: Bearer\r\n");
	if (status == 429 || status == 503)
		buf_printf(out, "Retry-After: %d\r\n", RETRY_AFTER_S);
	buf_printf(out, "Connection: %s\r\n\r\n", s->keep_alive ? "keep-alive" : "close");
}

/* A whole reply; frees its body. */
static void add_reply(struct buf *out, const struct session *s, int status, const char *type, struct buf *body)
{
	add_head(out, s, status, type, body->len);
	buf_add(out, body->bytes, body->len);
	if (!buf_ok(body))
		out->failed = true;
	buf_free(body);
}

static void add_problem(struct buf *out, const struct session *s)
{
	struct problem problem = {.status = s->status, .detail = s->close_reason};
	struct buf body = BUF_EMPTY;

	problem_write(&body, &problem);
	add_reply(out, s, s->status, "application/problem+json", &body);
}

/* What was missed needs nothing before or behind it here. */
static void add_nothing(struct buf *out, const struct session *s)
{
	(void)out;
	(void)s;
}

/* ---- server-sent events */

static void sse_message(struct buf *out, const struct session *s, struct span message)
{
	char cursor[CURSOR_TEXT_SIZE];
	uint64_t seq = message_seq(message);

	/* JSON as we keep it has no line break. */
	if (seq > 0)
		buf_printf(out, "id: %s\n", cursor_text(cursor, s->subscriber.topic->epoch, seq));
	buf_add_text(out, "data: ");
	buf_add(out, message.bytes, message.len);
	buf_add_text(out, "\n\n");
}

static void sse_welcome(struct buf *out, const struct session *s, const struct dialog_welcome *w)
{
	char cursor[CURSOR_TEXT_SIZE];

	add_head(out, s, 200, "text/event-stream; charset=utf-8", SIZE_MAX);
	buf_printf(out, "retry: %d\nid: %s\nevent: connect\ndata: ", RETRY_MS, cursor_text(cursor, w->epoch, w->seq));
	dialog_connect(out, &s->dialog, w, clock_wall_us());
	buf_add_text(out, "\n\n");
}

static void sse_missed_add(struct buf *out, const struct session *s, bool first, struct span message)
{
	(void)first;
	sse_message(out, s, message);
}

static void sse_heartbeat(struct buf *out)
{
	buf_add_text(out, ": still here\n\n");
}

static void sse_goodbye(struct buf *out, const struct session *s)
{
	if (s->greeted)
		buf_printf(out, "event: close\ndata: {\"type\":\"close\",\"data\":{\"code\":%d,\"reason\":\"%s\"}}\n\n",
			   s->close_code, s->close_reason);
	else
		add_problem(out, s);
}

const struct voice voice_sse = {
	.welcome = sse_welcome,
	.missed_begin = add_nothing,
	.missed_add = sse_missed_add,
	.missed_end = add_nothing,
	.message = sse_message,
	.heartbeat = sse_heartbeat,
	.goodbye = sse_goodbye,
};

/* ---- long-poll */

void voice_poll_reply(struct buf *out, const struct session *s, struct span messages)
{
	char cursor[CURSOR_TEXT_SIZE];
	struct buf body = BUF_EMPTY;

	buf_printf(&body, "{\"cursor\":\"%s\",\"messages\":[",
		   cursor_text(cursor, s->subscriber.topic->epoch, s->subscriber.seq));
	buf_add(&body, messages.bytes, messages.len);
	buf_printf(&body, "],\"recovered\":%s", s->recovered ? "true" : "false");
	if (s->missed_from > 0)
		buf_printf(&body, ",\"missed\":{\"from\":%" PRIu64 ",\"to\":%" PRIu64 "}", s->missed_from,
			   s->missed_to);
	buf_add_text(&body, "}");
	add_reply(out, s, 200, "application/json", &body);
}

static void poll_welcome(struct buf *out, const struct session *s, const struct dialog_welcome *w)
{
	(void)out;
	(void)s;
	(void)w;
}

static void poll_missed_add(struct buf *out, const struct session *s, bool first, struct span message)
{
	(void)s;
	dialog_missed_add(out, first, message);
}

static void poll_message(struct buf *out, const struct session *s, struct span message)
{
	poll_missed_add(out, s, out->len == 0, message);
}

static void poll_heartbeat(struct buf *out)
{
	(void)out;
}

/* One that was held comes back at once, and finds another node or a reason. */
static void poll_goodbye(struct buf *out, const struct session *s)
{
	if (s->greeted)
		voice_poll_reply(out, s, (struct span){0});
	else
		add_problem(out, s);
}

const struct voice voice_poll = {
	.welcome = poll_welcome,
	.missed_begin = add_nothing,
	.missed_add = poll_missed_add,
	.missed_end = add_nothing,
	.message = poll_message,
	.heartbeat = poll_heartbeat,
	.goodbye = poll_goodbye,
};
