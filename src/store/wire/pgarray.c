#include "store/wire/pgarray.h"

#include <endian.h>
#include <string.h>

/* pg_type.h: these never change. */
#define OID_BYTEA 17
#define OID_INT8 20
#define OID_TEXT 25

#define HAS_NULL_OFFSET 4
#define COUNT_OFFSET 12

static void add_u32(struct buf *b, uint32_t value)
{
	uint32_t wire = htobe32(value);

	buf_add(b, &wire, sizeof(wire));
}

static void set_u32(struct buf *b, size_t offset, uint32_t value)
{
	uint32_t wire = htobe32(value);

	if (buf_ok(b))
		memcpy(b->bytes + offset, &wire, sizeof(wire));
}

static uint32_t element_oid(enum pgarray_type type)
{
	switch (type) {
	case PGARRAY_TEXT:
		return OID_TEXT;
	case PGARRAY_INT8:
		return OID_INT8;
	case PGARRAY_BYTES:
		return OID_BYTEA;
	}
	return 0;
}

void pgarray_begin(struct pgarray *a, enum pgarray_type type)
{
	buf_clear(&a->bytes);
	a->count = 0;
	add_u32(&a->bytes, 1); /* dimensions */
	add_u32(&a->bytes, 0); /* has NULL */
	add_u32(&a->bytes, element_oid(type));
	add_u32(&a->bytes, 0); /* elements */
	add_u32(&a->bytes, 1); /* the first one's index */
}

void pgarray_add(struct pgarray *a, const void *bytes, size_t len)
{
	add_u32(&a->bytes, (uint32_t)len);
	buf_add(&a->bytes, bytes, len);
	set_u32(&a->bytes, COUNT_OFFSET, ++a->count);
}

void pgarray_add_text(struct pgarray *a, const char *text)
{
	if (text && text[0])
		pgarray_add(a, text, strlen(text));
	else
		pgarray_add_null(a);
}

void pgarray_add_int8(struct pgarray *a, int64_t value)
{
	uint64_t wire = htobe64((uint64_t)value);

	pgarray_add(a, &wire, sizeof(wire));
}

void pgarray_add_null(struct pgarray *a)
{
	add_u32(&a->bytes, UINT32_MAX); /* length -1 */
	set_u32(&a->bytes, HAS_NULL_OFFSET, 1);
	set_u32(&a->bytes, COUNT_OFFSET, ++a->count);
}

void pgarray_free(struct pgarray *a)
{
	buf_free(&a->bytes);
	a->count = 0;
}
