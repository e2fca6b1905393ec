#include "domain/websocket/deflate.h"

#include <stdlib.h>
#include <zlib.h>

#include "domain/websocket/frame.h"

#define LEVEL 6
#define WINDOW_BITS 15 /* negative where zlib is asked: no header of its own */
#define MEMORY_LEVEL 5 /* what is cleared for each message is small then */
#define SYNC_TAIL 4    /* bytes at the end of a flush, 00 00 ff ff, that are left out (RFC 7692, section 7.2.1) */

struct deflater {
	z_stream zlib;
};

enum err deflater_new(struct deflater **d)
{
	struct deflater *made = calloc(1, sizeof(*made));

	if (made &&
	    deflateInit2(&made->zlib, LEVEL, Z_DEFLATED, -WINDOW_BITS, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
		free(made);
		made = NULL;
	}
	*d = made;
	return made ? OK : ERR_MEMORY;
}

void deflater_free(struct deflater **d)
{
	if (!*d)
		return;
	deflateEnd(&(*d)->zlib);
	free(*d);
	*d = NULL;
}

/* The compressed text, or one of length 0: it would not be shorter. */
static struct span compress_text(struct deflater *d, struct buf *room, struct span text)
{
	z_stream *z = &d->zlib;
	/* More than `text` is of no use; the end of the flush is not sent. */
	size_t size = text.len + SYNC_TAIL;
	char *to = buf_reserve(room, size);

	if (!to || deflateReset(z) != Z_OK)
		return (struct span){0};
	z->next_in = (Bytef *)text.bytes;
	z->avail_in = (uInt)text.len;
	z->next_out = (Bytef *)to;
	z->avail_out = (uInt)size;
	/* A flush that has left no room may not be over. */
	if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in > 0 || z->avail_out == 0)
		return (struct span){0};
	return (struct span){to, size - z->avail_out - SYNC_TAIL};
}

void deflater_add_frame(struct deflater *d, struct buf *out, struct span text)
{
	uint8_t header[FRAME_HEADER_MAX];
	struct buf room = BUF_EMPTY;
	struct span packed = compress_text(d, &room, text);
	bool shorter = packed.len > 0 && packed.len < text.len;
	struct span payload = shorter ? packed : text;
	size_t len = frame_text_header(header, payload.len);

	if (shorter)
		header[0] |= FRAME_COMPRESSED;
	buf_add(out, header, len);
	buf_add(out, payload.bytes, payload.len);
	buf_free(&room);
}
