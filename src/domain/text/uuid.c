#include "domain/text/uuid.h"

#include <string.h>

#include "base/hex.h"

static bool is_hyphen_place(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

struct uuid uuid_of_random(const uint8_t random[UUID_BYTES])
{
	struct uuid u;

	memcpy(u.bytes, random, UUID_BYTES);
	u.bytes[6] = (u.bytes[6] & 0x0f) | 0x40;
	u.bytes[8] = (u.bytes[8] & 0x3f) | 0x80;
	return u;
}

char *uuid_text(char out[UUID_TEXT_SIZE], const struct uuid *u)
{
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;

	for (size_t i = 0; i < UUID_BYTES; i++) {
		if (is_hyphen_place(at))
			out[at++] = '-';
		out[at++] = digits[u->bytes[i] >> 4];
		out[at++] = digits[u->bytes[i] & 0x0f];
	}
	out[at] = '\0';
	return out;
}

bool uuid_parse(struct uuid *u, const char *text, size_t len)
{
	struct uuid parsed;
	size_t n = 0;

	if (len != UUID_TEXT_SIZE - 1)
		return false;
	for (size_t i = 0; i < len;) {
		if (is_hyphen_place(i)) {
			if (text[i++] != '-')
				return false;
			continue;
		}
		int high = hex_value(text[i]), low = hex_value(text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		parsed.bytes[n++] = (uint8_t)(high << 4 | low);
		i += 2;
	}
	*u = parsed;
	return true;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->bytes, b->bytes, UUID_BYTES) == 0;
}
