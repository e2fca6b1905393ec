/*
 * byte_fifo - frames back to back: new ones come in at its end, the oldest leave at its front.
 *
 * A place in it is an offset in the stream of all bytes that ever went through, so it does not change when older ones
 * leave.
 *
 * Layer    domain.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

struct lane {
	char *bytes; /* owned */
	size_t head; /* where `start` is in bytes */
	size_t size; /* allocated */
	uint64_t start;
	uint64_t end; /* bytes from start to end are kept */
};

static inline size_t lane_used(const struct lane *l)
{
	return (size_t)(l->end - l->start);
}

/* The bytes from this offset on; lent until the next lane_room() or lane_forget(). */
static inline const char *lane_at(const struct lane *l, uint64_t offset)
{
	size_t at = l->head + (size_t)(offset - l->start);

	return at > 0 ? l->bytes + at : l->bytes; /* to NULL not even 0 may be added */
}

/*
 * Room for so many more bytes at the end. It grows by doubling, up to twice size_max bytes.
 *
 * ERR_MEMORY  all is as it was
 */
enum err lane_room(struct lane *l, size_t len, size_t size_max) MUST_CHECK;

/* At the end, where there is room. */
void lane_add(struct lane *l, const void *bytes, size_t len);

/* What is before this offset has left. */
void lane_drop(struct lane *l, uint64_t before);

/* Frees all bytes; offsets go on where they were. */
void lane_forget(struct lane *l);
