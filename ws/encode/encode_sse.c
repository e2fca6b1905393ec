#include "ws/encode/encode_sse.h"

#include <string.h>

#include "domain/topic/message.h"
#include "domain/websocket/frame.h"
#include "ws/encode/encode_http.h"
#include "ws/encode/encode_parts.h"

#define RETRY_MS 2000 /* a browser's own wait before it reconnects an event stream */

/* The cursor once the client has this message. */
static void add_id(struct buf *out, const struct subscription *sub, uint64_t seq)
{
	const struct session *s = sub->session;
	struct encode_places p;

	encode_places(&p, s);
	for (size_t i = 0; i < p.count; i++)
		if (s->subscriptions.items[i] == sub)
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
	encode_http_head(out, s, 200, "text/event-stream; charset=utf-8", SIZE_MAX);
	buf_printf(out, "retry: %d\nid: ", RETRY_MS);
	encode_cursor(out, s);
	buf_add_text(out, "\nevent: connect\ndata: ");
	encode_connect(out, s);
	buf_add_text(out, "\n\n");
}

static void sse_missed_add(struct buf *out, const struct subscription *sub, bool first, struct span message)
{
	(void)first;
	sse_message(out, sub, message);
}

/* With the place: messages that this client does not want have gone by. */
static void sse_heartbeat(struct buf *out, const struct session *s)
{
	buf_add_text(out, ": still here\nid: ");
	encode_cursor(out, s);
	buf_add_text(out, "\n\n");
}

static void sse_goodbye(struct buf *out, const struct session *s)
{
	if (s->greeted)
		buf_printf(out, "event: close\ndata: {\"type\":\"close\",\"data\":{\"code\":%d,\"reason\":\"%s\"}}\n\n",
			   s->end.code, s->end.reason);
	else
		encode_http_problem(out, s);
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

const struct encoder encoder_sse = {
	.welcome = sse_welcome,
	.missed_begin = encode_nothing,
	.missed_add = sse_missed_add,
	.missed_end = encode_nothing,
	.message = sse_message,
	.deliver = sse_deliver,
	.heartbeat = sse_heartbeat,
	.goodbye = sse_goodbye,
	.whole_after = sse_whole_after,
};
