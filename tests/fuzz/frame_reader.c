/* What a WebSocket client sends: read whole or a byte at a time it is the same, and nothing comes behind a close or a breach. */
#include <string.h>

#include "base/buf.h"
#include "domain/websocket/frame_reader.h"
#include "tests/fuzz/fuzz.h"

/* All events, one after the other; pieces of a message joined. */
static void read_all(struct buf *out, const uint8_t *data, size_t len, size_t step)
{
	struct frame_reader r = {.inflates = len > 0 && data[0] & 1};
	bool ended = false;

	for (size_t at = 0; at < len; at += step) {
		size_t left = len - at < step ? len - at : step;
		char *exact = malloc(left), *bytes = exact;
		struct frame_piece p;
		enum frame_event event;

		MUST_HOLD(exact);
		memcpy(exact, data + at, left);
		while ((event = frame_read(&r, &bytes, &left, &p)) != FRAME_NOTHING) {
			MUST_HOLD(!ended);
			ended = event == FRAME_CLOSE || event == FRAME_BREACH;
			MUST_HOLD(event != FRAME_BREACH || (p.reason && (p.code == 1002 || p.code == 1007)));
			MUST_HOLD(event == FRAME_PIECE || p.bytes.len <= FRAME_CONTROL_MAX);
			if (event != FRAME_PIECE || p.first)
				buf_printf(out, "|%d %u %d %d|", event, p.code, p.message.binary, p.message.packed);
			buf_add(out, p.bytes.bytes, p.bytes.len);
			if (p.last)
				buf_add_text(out, "|last|");
		}
		MUST_HOLD(left == 0);
		free(exact);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf whole = BUF_EMPTY, cut = BUF_EMPTY, single = BUF_EMPTY;

	read_all(&whole, data, len, len + 1);
	read_all(&cut, data, len, 7);
	read_all(&single, data, len, 1);
	MUST_HOLD(whole.len == cut.len && whole.len == single.len);
	MUST_HOLD(whole.len == 0 || (memcmp(whole.bytes, cut.bytes, whole.len) == 0 &&
				     memcmp(whole.bytes, single.bytes, whole.len) == 0));
	buf_free(&whole);
	buf_free(&cut);
	buf_free(&single);
	return 0;
}
