#include "domain/jose/base64url.h"

#include <stdint.h>

int base64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool base64url_decode(char *out, size_t size, struct span text, size_t *used)
{
	uint32_t bits = 0;

	*used = 0;
	if (text.len % 4 == 1 || text.len / 4 * 3 + 2 >= size)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int value = base64url_value(text.bytes[i]);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4 != 0)
			out[(*used)++] = (char)(bits >> (6 - 2 * (i % 4)));
	}
	out[*used] = '\0';
	return true;
}

void base64url_add(struct buf *out, const void *bytes, size_t len)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const unsigned char *in = bytes;

	for (size_t i = 0; i < len; i += 3) {
		size_t taken = MIN(len - i, (size_t)3);
		unsigned bits = (unsigned)in[i] << 16 | (taken > 1 ? (unsigned)in[i + 1] << 8 : 0) |
				(taken > 2 ? (unsigned)in[i + 2] : 0);

		for (size_t k = 0; k <= taken; k++)
			buf_add(out, &alphabet[bits >> (18 - 6 * k) & 63], 1);
	}
}
