#include "domain/fanout/byte_fifo.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum err byte_fifo_make_room(struct byte_fifo *f, size_t len, size_t size_max)
{
	size_t used = byte_fifo_used(f);

	if (f->head + used + len <= f->size)
		return OK;
	if (used + len <= f->size && f->head >= f->size / 2) {
		memmove(f->bytes, f->bytes + f->head, used);
		f->head = 0;
		return OK;
	}

	size_t size = MAX(used + len, MIN(f->size * 2, size_max * 2));
	char *bytes = malloc(size);

	if (!bytes)
		return ERR_MEMORY;
	if (used > 0)
		memcpy(bytes, f->bytes + f->head, used);
	free(f->bytes);
	f->bytes = bytes;
	f->size = size;
	f->head = 0;
	return OK;
}

void byte_fifo_add(struct byte_fifo *f, const void *bytes, size_t len)
{
	size_t at = f->head + byte_fifo_used(f);

	assert(at + len <= f->size);
	if (len > 0)
		memcpy(f->bytes + at, bytes, len);
	f->end += len;
}

void byte_fifo_drop(struct byte_fifo *f, uint64_t before)
{
	f->head += (size_t)(before - f->start);
	f->start = before;
	if (f->start == f->end)
		f->head = 0;
}

void byte_fifo_forget(struct byte_fifo *f)
{
	free(f->bytes);
	f->bytes = NULL;
	f->size = f->head = 0;
	f->start = f->end;
}
