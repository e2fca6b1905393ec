#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_FIRST 64

/* Room for `more` bytes and a NUL. */
static bool grow(struct buf *b, size_t more)
{
	size_t size = b->size > 0 ? b->size : SIZE_FIRST;
	char *bytes = NULL;

	if (b->failed)
		return false;
	if (more < b->size - b->len)
		return true;
	if (more >= SIZE_MAX / 2 - b->len)
		goto failed;
	while (size <= b->len + more)
		size *= 2;
	bytes = realloc(b->bytes, size);
	if (!bytes)
		goto failed;
	b->bytes = bytes;
	b->size = size;
	return true;
failed:
	b->failed = true;
	return false;
}

void *buf_reserve(struct buf *b, size_t len)
{
	char *start = NULL;

	if (!grow(b, len))
		return NULL;
	start = b->bytes + b->len;
	b->len += len;
	b->bytes[b->len] = '\0';
	return start;
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
	char *start = buf_reserve(b, len);

	if (start && len > 0)
		memcpy(start, bytes, len);
}

void buf_add_text(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *format, ...)
{
	va_list args;
	int len = 0;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0) {
		b->failed = true;
		return;
	}
	if (!grow(b, (size_t)len))
		return;
	va_start(args, format);
	vsnprintf(b->bytes + b->len, (size_t)len + 1, format, args);
	va_end(args);
	b->len += (size_t)len;
}

void buf_cut(struct buf *b, size_t len)
{
	b->len = len;
	b->bytes[len] = '\0';
}

void buf_drop(struct buf *b, size_t len)
{
	size_t rest = b->len - len;
	char *bytes = NULL;

	if (rest == 0) {
		buf_free(b);
		return;
	}
	/* Shrunk where it is, it would leave a gap behind it, too small for another that is as large as it was. */
	bytes = malloc(rest + 1);
	if (bytes) {
		memcpy(bytes, b->bytes + len, rest + 1);
		free(b->bytes);
		b->bytes = bytes;
		b->size = rest + 1;
	} else {
		memmove(b->bytes, b->bytes + len, rest + 1);
	}
	b->len = rest;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->bytes)
		b->bytes[0] = '\0';
}

void buf_free(struct buf *b)
{
	if (!b)
		return;
	free(b->bytes);
	*b = BUF_EMPTY;
}
