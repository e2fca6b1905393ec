/*
 * buf - bytes that grow.
 *
 * An append that finds no memory makes the buffer `failed`, and every later append a no-op: so a reply is built without
 * a check a line, and buf_ok() is asked once, at the end.
 *
 * Layer    base.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/defs.h"

struct buf {
	char *bytes; /* owned; NUL-terminated once anything was added and not failed; NULL when empty */
	size_t len;  /* bytes in use, without the NUL */
	size_t size; /* allocated */
	bool failed;
};

#define BUF_EMPTY ((struct buf){0})

void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_add_text(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) PRINTF(2, 3);

/* `len` more bytes to write into (uninitialised), already counted in b->len; NULL when failed. */
void *buf_reserve(struct buf *b, size_t len);

/* Forgets all but the first `len` bytes. */
void buf_cut(struct buf *b, size_t len);

/* Forgets the first `len` bytes, and gives back the memory that the rest does not need. */
void buf_drop(struct buf *b, size_t len);

/* Keeps the memory, forgets the bytes and the failure. */
void buf_clear(struct buf *b);

static inline bool buf_ok(const struct buf *b)
{
	return !b->failed;
}

/* Frees what is in it and makes it empty; NULL is fine. */
void buf_free(struct buf *b);
