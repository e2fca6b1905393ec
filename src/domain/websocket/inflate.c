#include "domain/websocket/inflate.h"

#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>

#define WINDOW_BITS 15 /* as large as any; negative where zlib is asked: no header of its own */
#define PIECE 16384    /* bytes of text at a time */
#define BLOCK_END 128  /* zlib's data_type: between two blocks */

size_t inflate_packed_max(size_t text_max)
{
	/* A block that is stored as it is takes 5 bytes more, and has 1 KB or more where compressors make it. */
	return text_max + text_max / 128 + 64;
}

struct inflater {
	z_stream zlib;
	bool between; /* two blocks: a message may end there */
};

enum err inflater_new(struct inflater **i)
{
	struct inflater *made = calloc(1, sizeof(*made));

	if (made && inflateInit2(&made->zlib, -WINDOW_BITS) != Z_OK) {
		free(made);
		made = NULL;
	}
	*i = made;
	return made ? OK : ERR_MEMORY;
}

void inflater_free(struct inflater **i)
{
	if (!*i)
		return;
	inflateEnd(&(*i)->zlib);
	free(*i);
	*i = NULL;
}

static enum err add_part(struct inflater *i, struct buf *out, struct span part, size_t len_max)
{
	z_stream *z = &i->zlib;

	z->next_in = (Bytef *)part.bytes;
	z->avail_in = (uInt)part.len;
	for (;;) {
		/* One byte more than there may be tells that there are more. */
		size_t size = MIN(PIECE, len_max + 1 - out->len);
		void *to = buf_reserve(out, size);
		int result;

		if (!to)
			return ERR_MEMORY;
		z->next_out = to;
		z->avail_out = (uInt)size;
		result = inflate(z, Z_SYNC_FLUSH);
		buf_cut(out, out->len - z->avail_out);
		if (out->len > len_max)
			return ERR_TOO_LARGE;
		if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
			return result == Z_MEM_ERROR ? ERR_MEMORY : ERR_INPUT;
		i->between = result == Z_STREAM_END || (z->data_type & BLOCK_END) != 0;
		/* A block that says that it is the last (RFC 7692, section 7.2.3.4), and others behind it. */
		if (result == Z_STREAM_END && inflateReset(z) != Z_OK)
			return ERR_MEMORY;
		if (z->avail_in == 0 && z->avail_out > 0)
			return OK;
	}
}

enum err inflater_add_text(struct inflater *i, struct buf *out, struct span packed, size_t text_max)
{
	/* What the sender has left out (RFC 7692, section 7.2.1). */
	static const char tail[] = {0, 0, (char)0xff, (char)0xff};
	size_t before = out->len;
	enum err e = inflateReset(&i->zlib) == Z_OK ? OK : ERR_MEMORY;

	/* Some senders compress nothing to nothing, where section 7.2.3.6 has a zero byte. */
	if (packed.len == 0)
		return e;
	if (e == OK)
		e = add_part(i, out, packed, before + text_max);
	if (e == OK)
		e = add_part(i, out, (struct span){tail, sizeof(tail)}, before + text_max);
	if (e == OK && !i->between)
		e = ERR_INPUT;
	if (e != OK && e != ERR_MEMORY)
		buf_cut(out, before);
	return e;
}
