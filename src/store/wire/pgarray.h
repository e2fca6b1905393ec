/*
 * pgarray - one-dimensional arrays as libpq's binary parameters: nothing has to be escaped, and NULL is possible.
 *
 * The format is what array_recv() in PostgreSQL reads: dimensions, a flag, the elements' type, then each with its
 * length.
 *
 * Layer    store.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum pgarray_type { PGARRAY_TEXT, PGARRAY_INT8, PGARRAY_BYTES };

struct pgarray {
	struct buf bytes; /* owned: always a whole, valid parameter */
	uint32_t count;
};

/* Makes it empty; keeps the memory. All zero before the first time. */
void pgarray_begin(struct pgarray *a, enum pgarray_type type);

/* For text and bytes. */
void pgarray_add(struct pgarray *a, const void *bytes, size_t len);
/* NULL becomes NULL, and so does "" : "not given" in our structs. */
void pgarray_add_text(struct pgarray *a, const char *text);
void pgarray_add_int8(struct pgarray *a, int64_t value);
void pgarray_add_null(struct pgarray *a);

void pgarray_free(struct pgarray *a);
