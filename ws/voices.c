#include "ws/voices.h"

#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "domain/dialog/dialog.h"
#include "domain/dialog/live_text.h"
#include "domain/http/problem.h"
#include "domain/topic/message.h"
#include "domain/websocket/frame.h"
#include "ws/user.h"

#define RETRY_MS 2000 /* a browser's own wait before it reconnects an event stream */
#define RETRY_AFTER_S 5

/* ---- what all of them say: for each topic, where the client goes on */

struct places {
	size_t count;
	struct resume_point items[SELECTION_MAX];
};

static void find_places(struct places *p, const struct session *s)
{
	p->count = s->subscriptions_count;
	for (size_t i = 0; i < p->count; i++)
		p->items[i] = subscription_place(s->subscriptions[i]);
}

static void add_connect(struct buf *out, const struct session *s)
{
	struct places p;
	struct dialog_welcome w = {.user_id = s->user ? s->user->id : NULL, .connection_id = s->id, .points = p.items};

	find_places(&p, s);
	w.points_count = p.count;
	dialog_connect(out, &s->dialog, &w, clock_wall_us());
}

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

static void websocket_welcome(struct buf *out, const struct session *s)
{
	struct buf text = BUF_EMPTY;

	add_connect(&text, s);
	add_text_frame(out, &text);
}

static void websocket_missed_begin(struct buf *out, const struct subscription *sub)
{
	dialog_missed_begin(out, &sub->session->dialog, subscription_topic(sub));
}

static void websocket_missed_add(struct buf *out, const struct subscription *sub, bool first, struct span message)
{
	(void)sub;
	dialog_missed_add(out, first, message);
}

static void websocket_missed_end(struct buf *out, const struct subscription *sub)
{
	struct buf text = *out;

	(void)sub;
	*out = BUF_EMPTY;
	dialog_missed_end(&text);
	frame_add_fragments(out, (struct span){text.bytes, text.len});
	if (!buf_ok(&text))
		out->failed = true;
	buf_free(&text);
}

static void websocket_message(struct buf *out, const struct subscription *sub, struct span message)
{
	(void)sub;
	add_frame(out, message);
}

static void websocket_heartbeat(struct buf *out)
{
	buf_add(out, FRAME_EMPTY_PING, FRAME_EMPTY_PING_SIZE);
}

static const char *sentence_of(const struct session *s)
{
	return s->close_detail ? s->close_detail : s->close_reason;
}

static void websocket_goodbye(struct buf *out, const struct session *s)
{
	uint8_t frame[FRAME_CLOSE_MAX];
	struct buf text = BUF_EMPTY;

	if (s->refused_topic) {
		dialog_forbidden(&text, &s->dialog, s->refused_topic,
				 s->close_detail ? s->close_detail : "This topic is not allowed.");
		add_text_frame(out, &text);
	}
	buf_add(out, frame, frame_close(frame, s->close_code, s->close_reason));
}

const struct voice voice_websocket = {
	.welcome = websocket_welcome,
	.missed_begin = websocket_missed_begin,
	.missed_add = websocket_missed_add,
	.missed_end = websocket_missed_end,
	.message = websocket_message,
	.reply = add_frame,
	.heartbeat = websocket_heartbeat,
	.goodbye = websocket_goodbye,
	.whole_after = frame_end_after,
	.frames_as_they_are = true,
	.answers_heartbeats = true,
};

/* ---- live health: spec section 6. Every message by itself, and errors said before the close */

static void live_voice_welcome(struct buf *out, const struct session *s)
{
	(void)out;
	(void)s;
}

/* What was missed needs nothing before or behind it here. */
static void add_nothing(struct buf *out, const struct subscription *sub)
{
	(void)out;
	(void)sub;
}

static void live_voice_missed_add(struct buf *out, const struct subscription *sub, bool first, struct span message)
{
	(void)sub;
	(void)first;
	add_frame(out, message);
}

/* The message is for the client, the ping for whoever does not answer messages. */
static void live_voice_heartbeat(struct buf *out)
{
	struct buf text = BUF_EMPTY;

	live_text_heartbeat(&text, clock_wall_us());
	add_text_frame(out, &text);
	websocket_heartbeat(out);
}

static void live_voice_expiring(struct buf *out, int64_t in_s)
{
	struct buf text = BUF_EMPTY;

	live_text_token_expiring(&text, MAX(in_s, 0), clock_wall_us());
	add_text_frame(out, &text);
}

static void live_voice_goodbye(struct buf *out, const struct session *s)
{
	struct buf text = BUF_EMPTY;

	if (s->error_code) {
		live_text_error(&text, s->error_code, sentence_of(s), NULL, NULL, clock_wall_us());
		add_text_frame(out, &text);
	}
	websocket_goodbye(out, s);
}

const struct voice voice_live = {
	.welcome = live_voice_welcome,
	.missed_begin = add_nothing,
	.missed_add = live_voice_missed_add,
	.missed_end = add_nothing,
	.message = websocket_message,
	.reply = add_frame,
	.heartbeat = live_voice_heartbeat,
	.expiring = live_voice_expiring,
	.goodbye = live_voice_goodbye,
	.whole_after = frame_end_after,
	.frames_as_they_are = true,
	.answers_heartbeats = true,
};

/* ---- HTTP: spec section 5 */

static void add_head(struct buf *out, const struct session *s, int status, const char *type, size_t length)
{
	char date[CLOCK_HTTP_DATE_SIZE];

	buf_printf(out,
		   "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\nDate: %s\r\n"
		   "X-Accel-Buffering: no\r\n",
		   status, status == 200 ? "OK" : problem_title(status), type, clock_http_date(date, clock_wall_us()));
	if (length != SIZE_MAX)
		buf_printf(out, "Content-Length: %zu\r\n", length);
	if (s->allowed_origin)
		buf_printf(out,
			   "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\nAccess-Control-Expose-Headers: "
			   "Retry-After, WWW-Authenticate\r\n",
			   s->allowed_origin);
	if (status == 401)
		buf_printf(out, PROBLEM_CHALLENGE, sentence_of(s));
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
	struct problem problem = PROBLEM_NONE;
	struct buf body = BUF_EMPTY, detail = BUF_EMPTY;

	if (s->refused_topic)
		problem_add_field(&problem, "", "topics", s->refused_topic);
	/* The reason of a close, as the sentence that it is here. */
	buf_printf(&detail, "%c%s.", toupper((unsigned char)s->close_reason[0]), s->close_reason + 1);
	problem.status = s->status;
	problem.detail = s->close_detail ? s->close_detail : buf_ok(&detail) ? detail.bytes : s->close_reason;
	problem_write(&body, &problem);
	problem_free(&problem);
	buf_free(&detail);
	add_reply(out, s, s->status, "application/problem+json", &body);
}

/* ---- server-sent events */

/* The cursor once the client has this message. */
static void add_id(struct buf *out, const struct subscription *sub, uint64_t seq)
{
	const struct session *s = sub->session;
	struct places p;

	find_places(&p, s);
	for (size_t i = 0; i < p.count; i++)
		if (s->subscriptions[i] == sub)
			p.items[i].seq = seq;
	buf_add_text(out, "id: ");
	resume_points_add_cursor(out, p.items, p.count);
	buf_add_text(out, "\n");
}

static void sse_message(struct buf *out, const struct subscription *sub, struct span message)
{
	uint64_t seq = message_seq(message);

	/* JSON as we keep it has no line break. */
	if (seq > 0)
		add_id(out, sub, seq);
	buf_add_text(out, "data: ");
	buf_add(out, message.bytes, message.len);
	buf_add_text(out, "\n\n");
}

static void sse_deliver(struct buf *out, const struct subscription *sub, struct span frames)
{
	struct span message;

	while (frame_next(&frames, &message))
		sse_message(out, sub, message);
}

static void sse_welcome(struct buf *out, const struct session *s)
{
	struct places p;

	find_places(&p, s);
	add_head(out, s, 200, "text/event-stream; charset=utf-8", SIZE_MAX);
	buf_printf(out, "retry: %d\nid: ", RETRY_MS);
	resume_points_add_cursor(out, p.items, p.count);
	buf_add_text(out, "\nevent: connect\ndata: ");
	add_connect(out, s);
	buf_add_text(out, "\n\n");
}

static void sse_missed_add(struct buf *out, const struct subscription *sub, bool first, struct span message)
{
	(void)first;
	sse_message(out, sub, message);
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

/* The end of an event. */
static size_t sse_whole_after(struct span bytes, size_t whole, size_t at)
{
	const char *end;

	if (whole == at)
		return at;
	end = memmem(bytes.bytes + at, bytes.len - at, "\n\n", 2);
	return end ? (size_t)(end + 2 - bytes.bytes) : bytes.len;
}

const struct voice voice_sse = {
	.welcome = sse_welcome,
	.missed_begin = add_nothing,
	.missed_add = sse_missed_add,
	.missed_end = add_nothing,
	.message = sse_message,
	.deliver = sse_deliver,
	.heartbeat = sse_heartbeat,
	.goodbye = sse_goodbye,
	.whole_after = sse_whole_after,
};

/* ---- long-poll */

/* What it has gathered, but for what has expired meanwhile. True: there is something. */
static bool add_held(struct buf *out, const struct session *s)
{
	const struct mark *marks = (const struct mark *)(const void *)s->marks.bytes;
	int64_t now_ms = clock_monotonic_ms();
	size_t begin = 0;
	bool first = true;

	for (size_t i = 0; i < s->marks.len / sizeof(*marks); i++) {
		size_t end = marks[i].held_end;

		if (end == 0)
			continue;
		if (marks[i].expires_ms == 0 || now_ms < marks[i].expires_ms) {
			dialog_missed_add(out, first, (struct span){s->held.bytes + begin, end - begin});
			first = false;
		}
		begin = end + 1;
	}
	return !first;
}

void voice_poll_reply(struct buf *out, const struct session *s, struct span messages)
{
	struct buf body = BUF_EMPTY;
	struct places p;

	find_places(&p, s);
	buf_add_text(&body, "{\"cursor\":\"");
	resume_points_add_cursor(&body, p.items, p.count);
	buf_add_text(&body, "\",\"messages\":[");
	if (add_held(&body, s) && messages.len > 0)
		buf_add_text(&body, ",");
	buf_add(&body, messages.bytes, messages.len);
	buf_add_text(&body, "],");
	resume_points_add_recovery(&body, p.items, p.count, s->dialog.diagnosis_id == 0);
	buf_add_text(&body, "}");
	add_reply(out, s, 200, "application/json", &body);
}

static void poll_welcome(struct buf *out, const struct session *s)
{
	(void)out;
	(void)s;
}

static void poll_missed_add(struct buf *out, const struct subscription *sub, bool first, struct span message)
{
	(void)sub;
	dialog_missed_add(out, first, message);
}

static void poll_message(struct buf *out, const struct subscription *sub, struct span message)
{
	poll_missed_add(out, sub, out->len == 0, message);
}

/* The whole reply. One that was behind on another topic has gathered something of that already. */
static void poll_deliver(struct buf *out, const struct subscription *sub, struct span frames)
{
	struct buf messages = BUF_EMPTY;
	struct span message;

	while (frame_next(&frames, &message))
		poll_message(&messages, sub, message);
	voice_poll_reply(out, sub->session, (struct span){messages.bytes, messages.len});
	if (!buf_ok(&messages))
		out->failed = true;
	buf_free(&messages);
}

static void poll_heartbeat(struct buf *out)
{
	(void)out;
}

/* One that was held comes back at once, and finds another node or a reason. It has what its cursor has gone past. */
static void poll_goodbye(struct buf *out, const struct session *s)
{
	/* A message that found no memory is not in it, and the cursor has gone past that: no reply is better. */
	if (!buf_ok(&s->held))
		out->failed = true;
	else if (s->greeted)
		voice_poll_reply(out, s, (struct span){0});
	else
		add_problem(out, s);
}

/* A reply is one. */
static size_t poll_whole_after(struct span bytes, size_t whole, size_t at)
{
	return whole == at ? at : bytes.len;
}

const struct voice voice_poll = {
	.welcome = poll_welcome,
	.missed_begin = add_nothing,
	.missed_add = poll_missed_add,
	.missed_end = add_nothing,
	.message = poll_message,
	.deliver = poll_deliver,
	.heartbeat = poll_heartbeat,
	.goodbye = poll_goodbye,
	.whole_after = poll_whole_after,
};
