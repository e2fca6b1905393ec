/*
 * frame_reader - WebSocket frames as clients send them (RFC 6455, section 5.2): bytes come in as the socket gives them, and
 * go out as pieces of messages, pings, pongs, and one close.
 *
 *	bytes -> frame_read() -> FRAME_PIECE | FRAME_PING | FRAME_PONG | FRAME_CLOSE | FRAME_BREACH, again and again
 *				 until FRAME_NOTHING: they are all read
 *
 * Pieces are given as they come: a message is never gathered here, so whoever does sets its limit. Behind a close or a
 * breach nothing is read any more. What a frame's head may be is all decided here: masks, lengths, reserved bits, opcodes,
 * fragments, the bodies of closes. That a message is UTF-8 is not: it may be compressed.
 *
 * Layer    domain: no socket.
 * Memory   the caller's: struct frame_reader, with room for one control frame.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

#define FRAME_CONTROL_MAX 125	   /* bytes of payload of a ping, pong or close (RFC 6455, section 5.5) */
#define FRAME_CLIENT_HEADER_MAX 14 /* bytes, mask included */

/* What a message's first frame says of it. */
struct frame_message {
	bool binary;
	bool packed; /* compressed */
};

enum frame_part {
	FRAME_IN_HEADER,
	FRAME_IN_PAYLOAD,
	FRAME_ENDED, /* a close or a breach: what follows is passed over */
};

/* All zero but for `inflates` at first. */
struct frame_reader {
	bool inflates; /* permessage-deflate is agreed: a message's first frame may have RSV1 (RFC 7692, section 6) */
	bool in_message;
	enum frame_part part;
	uint8_t header_len;
	uint8_t control_len;
	uint8_t header[FRAME_CLIENT_HEADER_MAX];
	uint8_t control[FRAME_CONTROL_MAX];
	uint8_t mask_at; /* of the next byte of payload, 0..3 */
	struct {
		bool message, frame;
	} begins; /* with the next piece */
	struct frame_message message;
	uint64_t left; /* bytes of the frame's payload that have not come */
};

enum frame_event { FRAME_NOTHING, FRAME_PIECE, FRAME_PING, FRAME_PONG, FRAME_CLOSE, FRAME_BREACH };

/* What there is to an event. Lent until the next frame_read(). */
struct frame_piece {
	struct span bytes;	      /* FRAME_PIECE: perhaps none; FRAME_PING and FRAME_PONG: the payload */
	bool first, last;	      /* FRAME_PIECE: of its message */
	bool frame;		      /* FRAME_PIECE: the first of its frame */
	struct frame_message message; /* FRAME_PIECE */
	uint16_t code;		      /* FRAME_CLOSE: the client's, 0: it gave none; FRAME_BREACH: 1002 or 1007 */
	const char *reason;	      /* FRAME_BREACH: static */
};

/*
 * The next event.
 *
 *	bytes	in, out: what has come, unmasked where it is; what is left of it
 */
enum frame_event frame_read(struct frame_reader *r, char **bytes, size_t *len, struct frame_piece *piece);
