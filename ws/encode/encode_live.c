#include "ws/encode/encode_live.h"

#include "base/clock.h"
#include "domain/dialog/live_text.h"
#include "domain/websocket/frame.h"
#include "ws/encode/encode_parts.h"
#include "ws/encode/encode_websocket.h"

static void welcome(struct buf *out, const struct session *s)
{
	(void)out;
	(void)s;
}

static void missed_add(struct buf *out, const struct subscription *sub, bool first, struct span message)
{
	(void)sub;
	(void)first;
	encode_frame(out, message);
}

/* The message is for the client, the ping for whoever does not answer messages. */
static void heartbeat(struct buf *out, const struct session *s)
{
	struct buf text = BUF_EMPTY;

	live_text_heartbeat(&text, clock_wall_us());
	encode_text_frame(out, &text);
	session_add_ping(out, s);
}

static void goodbye(struct buf *out, const struct session *s)
{
	struct buf text = BUF_EMPTY;

	if (s->end.error_code) {
		live_text_error(&text, s->end.error_code, encode_sentence(s), NULL, NULL, clock_wall_us());
		encode_text_frame(out, &text);
	}
	encode_websocket_end(out, s);
}

const struct encoder encoder_live = {
	.welcome = welcome,
	.missed_begin = encode_nothing,
	.missed_add = missed_add,
	.missed_end = encode_nothing,
	.message = encode_websocket_message,
	.reply = encode_frame,
	.heartbeat = heartbeat,
	.heartbeat_is_a_message = true,
	.goodbye = goodbye,
	.whole_after = frame_end_after,
};
