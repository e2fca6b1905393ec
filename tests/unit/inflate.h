/* Reads server frames of which some are compressed by permessage-deflate without context takeover: the other side of
 * domain/websocket/deflate. */
#pragma once

#include <zlib.h>

#include "base/buf.h"
#include "domain/websocket/frame.h"

/* Takes the first of several whole frames off `frames` and appends its text. False: there is none, or it is no such
 * frame. */
static inline bool inflate_next(struct span *frames, struct buf *text, bool *compressed)
{
	char first, room[16384];
	struct span payload;
	z_stream z = {0};
	int status = Z_OK;

	if (frames->len == 0)
		return false;
	first = frames->bytes[0];
	*compressed = first & FRAME_COMPRESSED;
	if ((first & ~FRAME_COMPRESSED) != (char)0x81 || !frame_next(frames, &payload))
		return false;
	if (!*compressed) {
		buf_add(text, payload.bytes, payload.len);
		return true;
	}
	if (inflateInit2(&z, -15) != Z_OK)
		return false;
	for (int part = 0; part < 2 && status == Z_OK; part++) {
		z.next_in = part ? (Bytef *)"\x00\x00\xff\xff" : (Bytef *)payload.bytes;
		z.avail_in = part ? 4 : (uInt)payload.len;
		do {
			z.next_out = (Bytef *)room;
			z.avail_out = sizeof(room);
			status = inflate(&z, Z_SYNC_FLUSH);
			buf_add(text, room, sizeof(room) - z.avail_out);
		} while (status == Z_OK && z.avail_out == 0);
		if (status == Z_BUF_ERROR && z.avail_in == 0)
			status = Z_OK;
	}
	inflateEnd(&z);
	return status == Z_OK && buf_ok(text);
}
