#include "domain/websocket/frame_reader.h"

#include <string.h>

#include "domain/text/utf8.h"
#include "domain/websocket/close_code.h"

#define FIN 0x80
#define RSV1 0x40
#define RSV_REST 0x30
#define OPCODE 0x0f
#define MASKED 0x80
#define LEN_16 126
#define LEN_64 127

enum opcode { CONTINUATION, TEXT, BINARY, CLOSE = 8, PING, PONG };

static bool is_control(const struct frame_reader *r)
{
	return r->header[0] & 8;
}

static enum opcode opcode_of(const struct frame_reader *r)
{
	return r->header[0] & OPCODE;
}

/* Bytes of a header that begins so: 2 are enough to tell, and before these are read it is more than there are. */
static size_t header_size(const struct frame_reader *r)
{
	unsigned len = r->header[1] & ~MASKED;

	return 2 + (len < LEN_16 ? 0 : len == LEN_16 ? 2 : 8) + 4;
}

/* What its first two bytes say that must not be; NULL: nothing. */
static const char *breach_of_start(const struct frame_reader *r)
{
	uint8_t first = r->header[0], len = r->header[1] & (uint8_t)~MASKED;
	enum opcode opcode = opcode_of(r);
	bool begins = opcode == TEXT || opcode == BINARY;

	if ((first & RSV_REST) || ((first & RSV1) && !(r->inflates && begins)))
		return "a reserved bit";
	if (!begins && opcode != CONTINUATION && opcode != CLOSE && opcode != PING && opcode != PONG)
		return "an unknown opcode";
	if (!(r->header[1] & MASKED))
		return "a frame that is not masked";
	if (is_control(r) && (!(first & FIN) || len > FRAME_CONTROL_MAX))
		return "a control frame in fragments, or too long";
	if (!is_control(r) && begins == r->in_message)
		return begins ? "a message within another" : "a fragment of no message";
	return NULL;
}

/* The length that a whole header tells. False: not in its shortest form, or beyond 63 bits. */
static bool read_length(struct frame_reader *r)
{
	size_t len_bytes = header_size(r) - 2 - 4;

	r->left = len_bytes == 0 ? r->header[1] & (uint8_t)~MASKED : 0;
	for (size_t i = 0; i < len_bytes; i++)
		r->left = r->left << 8 | r->header[2 + i];
	return len_bytes == 0 || (len_bytes == 2 && r->left >= LEN_16) ||
	       (len_bytes == 8 && r->left > UINT16_MAX && r->left <= INT64_MAX);
}

static enum frame_event breach(struct frame_reader *r, struct frame_piece *piece, enum close_code code,
			       const char *reason)
{
	r->part = FRAME_ENDED;
	piece->code = (uint16_t)code;
	piece->reason = reason;
	return FRAME_BREACH;
}

/* Takes bytes of the header. FRAME_NOTHING: it is whole, or there are no more. */
static enum frame_event read_header(struct frame_reader *r, char **bytes, size_t *len, struct frame_piece *piece)
{
	while (*len > 0 && r->part == FRAME_IN_HEADER) {
		const char *wrong = NULL;

		r->header[r->header_len++] = (uint8_t) * *bytes;
		++*bytes;
		--*len;
		if (r->header_len == 2)
			wrong = breach_of_start(r);
		if (wrong)
			return breach(r, piece, CLOSE_PROTOCOL, wrong);
		if (r->header_len < header_size(r))
			continue;
		if (!read_length(r))
			return breach(r, piece, CLOSE_PROTOCOL, "a length that is not in its shortest form");
		r->part = FRAME_IN_PAYLOAD;
		r->begins.frame = true;
		r->mask_at = 0;
		if (!is_control(r) && !r->in_message) {
			r->in_message = r->begins.message = true;
			r->message.binary = opcode_of(r) == BINARY;
			r->message.packed = r->header[0] & RSV1;
		}
	}
	return FRAME_NOTHING;
}

static void unmask(struct frame_reader *r, char *bytes, size_t len)
{
	const uint8_t *mask = r->header + r->header_len - 4;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (char)((uint8_t)bytes[i] ^ mask[(r->mask_at + i) & 3]);
	r->mask_at = (uint8_t)((r->mask_at + len) & 3);
}

static void end_frame(struct frame_reader *r)
{
	r->part = FRAME_IN_HEADER;
	r->header_len = 0;
}

/* Those of RFC 6455, section 7.4.1, that may be sent, those that IANA has added, and those for libraries and applications. */
static bool is_close_code(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static enum frame_event read_close(struct frame_reader *r, struct frame_piece *piece)
{
	const char *body = (const char *)r->control;

	if (r->control_len == 1)
		return breach(r, piece, CLOSE_PROTOCOL, "half a close code");
	if (r->control_len >= 2) {
		piece->code = (uint16_t)(r->control[0] << 8 | r->control[1]);
		if (!is_close_code(piece->code))
			return breach(r, piece, CLOSE_PROTOCOL, "a close code that may not be sent");
		if (!utf8_valid(body + 2, r->control_len - 2U))
			return breach(r, piece, CLOSE_UNREADABLE, "a close reason that is not UTF-8");
	}
	r->part = FRAME_ENDED;
	return FRAME_CLOSE;
}

/* Gathers its payload. FRAME_NOTHING: there is more to come. */
static enum frame_event read_control(struct frame_reader *r, const char *bytes, size_t len, struct frame_piece *piece)
{
	enum opcode opcode = opcode_of(r);

	if (len > 0)
		memcpy(r->control + r->control_len, bytes, len);
	r->control_len = (uint8_t)(r->control_len + len);
	if (r->left > 0)
		return FRAME_NOTHING;
	piece->bytes = (struct span){(const char *)r->control, r->control_len};
	end_frame(r);
	if (opcode == CLOSE)
		return read_close(r, piece);
	r->control_len = 0;
	return opcode == PING ? FRAME_PING : FRAME_PONG;
}

static enum frame_event read_data(struct frame_reader *r, char *bytes, size_t len, struct frame_piece *piece)
{
	*piece = (struct frame_piece){
		.bytes = {bytes, len},
		.first = r->begins.message,
		.frame = r->begins.frame,
		.last = r->left == 0 && (r->header[0] & FIN),
		.message = r->message,
	};
	r->begins.message = r->begins.frame = false;
	if (piece->last)
		r->in_message = false;
	if (r->left == 0)
		end_frame(r);
	return FRAME_PIECE;
}

enum frame_event frame_read(struct frame_reader *r, char **bytes, size_t *len, struct frame_piece *piece)
{
	*piece = (struct frame_piece){0};
	while (r->part != FRAME_ENDED) {
		enum frame_event event = read_header(r, bytes, len, piece);
		char *payload = *bytes;
		size_t taken;

		if (event != FRAME_NOTHING)
			return event;
		/* A frame without payload is whole with its header. */
		if (r->part == FRAME_IN_HEADER || (*len == 0 && r->left > 0))
			return FRAME_NOTHING;
		taken = (size_t)MIN(r->left, *len);
		unmask(r, payload, taken);
		r->left -= taken;
		*bytes += taken;
		*len -= taken;
		event = is_control(r) ? read_control(r, payload, taken, piece) : read_data(r, payload, taken, piece);
		if (event != FRAME_NOTHING)
			return event;
	}
	*bytes += *len;
	*len = 0;
	return FRAME_NOTHING;
}
