#include "domain/websocket/frame.h"

#include <assert.h>
#include <string.h>

#define FIN 0x80
#define TEXT 0x01
#define CONTINUATION 0x00
#define FIN_TEXT (FIN | TEXT)
#define FIN_CLOSE 0x88
#define FIN_PING 0x89
#define FIN_PONG 0x8a
#define LEN_16 126
#define LEN_64 127

size_t frame_text_header(uint8_t out[FRAME_HEADER_MAX], uint64_t payload_bytes)
{
	size_t len_bytes = payload_bytes < LEN_16 ? 0 : payload_bytes <= UINT16_MAX ? 2 : 8;

	out[0] = FIN_TEXT;
	out[1] = len_bytes == 0 ? (uint8_t)payload_bytes : len_bytes == 2 ? LEN_16 : LEN_64;
	for (size_t i = 0; i < len_bytes; i++)
		out[2 + i] = (uint8_t)(payload_bytes >> (8 * (len_bytes - 1 - i)));
	return 2 + len_bytes;
}

bool frame_next(struct span *frames, struct span *payload)
{
	const uint8_t *bytes = (const uint8_t *)frames->bytes;
	size_t header = 2;
	uint64_t len;

	if (frames->len < 2)
		return false;
	len = bytes[1];
	if (len >= LEN_16) {
		header += len == LEN_16 ? 2 : 8;
		len = 0;
		for (size_t i = 2; i < header; i++)
			len = len << 8 | bytes[i];
	}
	assert(header + len <= frames->len);
	*payload = (struct span){frames->bytes + header, len};
	frames->bytes += header + len;
	frames->len -= header + len;
	return true;
}

void frame_add_fragments(struct buf *out, struct span text)
{
	uint8_t header[FRAME_HEADER_MAX], opcode = TEXT;

	do {
		size_t len = MIN(text.len, FRAME_FRAGMENT_MAX);
		size_t header_len = frame_text_header(header, len);

		header[0] = (uint8_t)(opcode | (len == text.len ? FIN : 0));
		buf_add(out, header, header_len);
		buf_add(out, text.bytes, len);
		text = (struct span){text.bytes + len, text.len - len};
		opcode = CONTINUATION;
	} while (text.len > 0);
}

size_t frame_end_after(struct span frames, size_t whole, size_t at)
{
	struct span rest = {frames.bytes + whole, frames.len - whole}, payload;

	while (frames.len - rest.len < at && frame_next(&rest, &payload))
		;
	return frames.len - rest.len;
}

static void add_control(struct buf *out, uint8_t first, struct span payload)
{
	uint8_t header[2] = {first, (uint8_t)payload.len};

	assert(payload.len < LEN_16);
	buf_add(out, header, sizeof(header));
	buf_add(out, payload.bytes, payload.len);
}

void frame_add_ping(struct buf *out, struct span payload)
{
	add_control(out, FIN_PING, payload);
}

void frame_add_pong(struct buf *out, struct span payload)
{
	add_control(out, FIN_PONG, payload);
}

size_t frame_close(uint8_t out[FRAME_CLOSE_MAX], uint16_t code, const char *reason)
{
	size_t len = strlen(reason);

	assert(len <= FRAME_CLOSE_MAX - 4);
	out[0] = FIN_CLOSE;
	out[1] = 0;
	if (code == 0)
		return 2;
	out[1] = (uint8_t)(2 + len);
	out[2] = (uint8_t)(code >> 8);
	out[3] = (uint8_t)code;
	memcpy(out + 4, reason, len);
	return 4 + len;
}
