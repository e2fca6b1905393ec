#include "domain/fanout/byte_fifo.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum err lane_room(struct lane *l, size_t len, size_t size_max)
{
	size_t used = lane_used(l);

	if (l->head + used + len <= l->size)
		return OK;
	if (used + len <= l->size && l->head >= l->size / 2) {
		memmove(l->bytes, l->bytes + l->head, used);
		l->head = 0;
		return OK;
	}

	size_t size = MAX(used + len, MIN(l->size * 2, size_max * 2));
	char *bytes = malloc(size);

	if (!bytes)
		return ERR_MEMORY;
	if (used > 0)
		memcpy(bytes, l->bytes + l->head, used);
	free(l->bytes);
	l->bytes = bytes;
	l->size = size;
	l->head = 0;
	return OK;
}

void lane_add(struct lane *l, const void *bytes, size_t len)
{
	size_t at = l->head + lane_used(l);

	assert(at + len <= l->size);
	if (len > 0)
		memcpy(l->bytes + at, bytes, len);
	l->end += len;
}

void lane_drop(struct lane *l, uint64_t before)
{
	l->head += (size_t)(before - l->start);
	l->start = before;
	if (l->start == l->end)
		l->head = 0;
}

void lane_forget(struct lane *l)
{
	free(l->bytes);
	l->bytes = NULL;
	l->size = l->head = 0;
	l->start = l->end;
}
