/*
 * byte_fifo - bytes back to back in one block of memory: new ones are added at the end, the oldest are dropped at the front.
 *
 * An offset counts all bytes that were ever added, so it stays the same when older bytes are dropped.
 *
 * Layer    domain.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

struct byte_fifo {
	char *bytes; /* owned */
	size_t head; /* where `start` is in bytes */
	size_t size; /* allocated */
	uint64_t start;
	uint64_t end; /* bytes from start to end are kept */
};

static inline size_t byte_fifo_used(const struct byte_fifo *f)
{
	return (size_t)(f->end - f->start);
}

/* The bytes from this offset on; lent until the next byte_fifo_make_room() or byte_fifo_forget(). */
static inline const char *byte_fifo_at(const struct byte_fifo *f, uint64_t offset)
{
	size_t at = f->head + (size_t)(offset - f->start);

	return at > 0 ? f->bytes + at : f->bytes; /* to NULL not even 0 may be added */
}

/*
 * Room for so many more bytes at the end. It grows by doubling, up to twice size_max bytes.
 *
 * ERR_MEMORY  all is as it was
 */
enum err byte_fifo_make_room(struct byte_fifo *f, size_t len, size_t size_max) MUST_CHECK;

/* At the end, where there is room. */
void byte_fifo_add(struct byte_fifo *f, const void *bytes, size_t len);

/* Drops the bytes before this offset. */
void byte_fifo_drop(struct byte_fifo *f, uint64_t before);

/* Frees all bytes; offsets go on where they were. */
void byte_fifo_forget(struct byte_fifo *f);
