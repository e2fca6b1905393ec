#include "ws/encode/encode_websocket.h"

#include "domain/dialog/dialog.h"
#include "domain/websocket/frame.h"
#include "ws/encode/encode_parts.h"

void encode_frame(struct buf *out, struct span text)
{
	uint8_t header[FRAME_HEADER_MAX];

	buf_add(out, header, frame_text_header(header, text.len));
	buf_add(out, text.bytes, text.len);
}

void encode_text_frame(struct buf *out, struct buf *text)
{
	encode_frame(out, (struct span){text->bytes, text->len});
	if (!buf_ok(text))
		out->failed = true;
	buf_free(text);
}

static void websocket_welcome(struct buf *out, const struct session *s)
{
	struct buf text = BUF_EMPTY;

	encode_connect(&text, s);
	encode_text_frame(out, &text);
}

static void websocket_missed_begin(struct buf *out, const struct subscription *sub)
{
	dialog_missed_begin(out, &sub->session->dialog, subscription_topic(sub), sub->at.rewound_from > 0);
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

void encode_websocket_message(struct buf *out, const struct subscription *sub, struct span message)
{
	(void)sub;
	encode_frame(out, message);
}

void encode_websocket_end(struct buf *out, const struct session *s)
{
	uint8_t frame[FRAME_CLOSE_MAX];
	struct buf text = BUF_EMPTY;

	if (s->end.refused_topic) {
		dialog_forbidden(&text, &s->dialog, s->end.refused_topic,
				 s->end.detail ? s->end.detail : "This topic is not allowed.");
		encode_text_frame(out, &text);
	}
	buf_add(out, frame, frame_close(frame, s->end.code, s->end.reason));
}

const struct encoder encoder_websocket = {
	.welcome = websocket_welcome,
	.missed_begin = websocket_missed_begin,
	.missed_add = websocket_missed_add,
	.missed_end = websocket_missed_end,
	.message = encode_websocket_message,
	.reply = encode_frame,
	.heartbeat = session_add_ping,
	.goodbye = encode_websocket_end,
	.whole_after = frame_end_after,
};
