#include "ws/encode/encode_poll.h"

#include "base/clock.h"
#include "domain/dialog/dialog.h"
#include "domain/websocket/frame.h"
#include "ws/encode/encode_http.h"
#include "ws/encode/encode_parts.h"

/* What it has gathered, but for what has expired meanwhile. True: there is something. */
static bool add_held(struct buf *out, const struct session *s)
{
	const struct mark *marks = (const struct mark *)(const void *)s->outlet.marks.bytes;
	int64_t now_ms = clock_monotonic_ms();
	size_t begin = 0;
	bool first = true;

	for (size_t i = 0; i < s->outlet.marks.len / sizeof(*marks); i++) {
		size_t end = marks[i].held_end;

		if (end == 0)
			continue;
		if (marks[i].expires_ms == 0 || now_ms < marks[i].expires_ms) {
			dialog_missed_add(out, first, (struct span){s->outlet.held.bytes + begin, end - begin});
			first = false;
		}
		begin = end + 1;
	}
	return !first;
}

void encode_poll_reply(struct buf *out, const struct session *s, struct span messages)
{
	struct buf body = BUF_EMPTY;
	struct encode_places p;

	encode_places(&p, s);
	buf_add_text(&body, "{\"cursor\":\"");
	resume_points_add_cursor(&body, p.items, p.count);
	buf_add_text(&body, "\",\"messages\":[");
	if (add_held(&body, s) && messages.len > 0)
		buf_add_text(&body, ",");
	buf_add(&body, messages.bytes, messages.len);
	buf_add_text(&body, "],");
	resume_points_add_recovery(&body, p.items, p.count, s->dialog.diagnosis_id == 0);
	buf_add_text(&body, "}");
	encode_http_reply(out, s, 200, "application/json", &body);
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
	encode_poll_reply(out, sub->session, (struct span){messages.bytes, messages.len});
	if (!buf_ok(&messages))
		out->failed = true;
	buf_free(&messages);
}

static void poll_heartbeat(struct buf *out, const struct session *s)
{
	(void)out;
	(void)s;
}

/* One that was held comes back at once, and finds another node or a reason. It has what its cursor has gone past. */
static void poll_goodbye(struct buf *out, const struct session *s)
{
	/* A message that found no memory is not in it, and the cursor has gone past that: no reply is better. */
	if (!buf_ok(&s->outlet.held))
		out->failed = true;
	else if (s->greeted)
		encode_poll_reply(out, s, (struct span){0});
	else
		encode_http_problem(out, s);
}

/* A reply is one. */
static size_t poll_whole_after(struct span bytes, size_t whole, size_t at)
{
	return whole == at ? at : bytes.len;
}

const struct encoder encoder_poll = {
	.welcome = poll_welcome,
	.missed_begin = encode_nothing,
	.missed_add = poll_missed_add,
	.missed_end = encode_nothing,
	.message = poll_message,
	.deliver = poll_deliver,
	.heartbeat = poll_heartbeat,
	.goodbye = poll_goodbye,
	.whole_after = poll_whole_after,
};
