/*
 * frame - WebSocket frames as a server sends them (RFC 6455, section 5.2): unmasked, whole.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"

#define FRAME_HEADER_MAX 10 /* bytes */
#define FRAME_COMPRESSED \
	0x40 /* RSV1, in the first byte: of a message that permessage-deflate has compressed (RFC 7692) */

/* Writes the header of a text frame with so many bytes of payload. Returns its length: 2, 4 or 10. */
size_t frame_text_header(uint8_t out[FRAME_HEADER_MAX], uint64_t payload_bytes);

/*
 * A text message in fragments, frames of at most FRAME_FRAGMENT_MAX bytes of payload (RFC 6455, section 5.4): a close may
 * come between two of them, so that what a slow client has not taken yet need not be kept for it.
 */
#define FRAME_FRAGMENT_MAX 16384
void frame_add_fragments(struct buf *out, struct span text);

/*
 * The first end of a frame at or after `at`.
 *
 *	whole	where one of them begins, or all end
 */
size_t frame_end_after(struct span frames, size_t whole, size_t at);

#define FRAME_CLOSE_MAX 127 /* bytes */

/*
 * Takes the payload of the first of several whole text frames, as frame_text_header() made them, off `frames`. False:
 * there is none left.
 */
bool frame_next(struct span *frames, struct span *payload);

/* Appends a ping, and the answer to one: its payload, at most 125 bytes, given back. */
void frame_add_ping(struct buf *out, struct span payload);
void frame_add_pong(struct buf *out, struct span payload);

/* Writes a close frame; `reason` is at most 123 bytes of UTF-8. `code` 0: one that says nothing. Returns its length. */
size_t frame_close(uint8_t out[FRAME_CLOSE_MAX], uint16_t code, const char *reason);
