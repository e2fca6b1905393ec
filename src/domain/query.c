#include "domain/query.h"

#include <string.h>

#include "base/hex.h"

bool query_decode(struct span text, bool plus_is_space, struct buf *out)
{
	size_t before = out->len, len = 0;
	char *to = buf_reserve(out, text.len); /* it does not get longer */

	if (!to)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.bytes[i];

		if (c == '+' && plus_is_space) {
			c = ' ';
		} else if (c == '%') {
			int high = i + 2 < text.len ? hex_value(text.bytes[i + 1]) : -1;
			int low = i + 2 < text.len ? hex_value(text.bytes[i + 2]) : -1;

			c = high < 0 || low < 0 ? '\0' : (char)(high << 4 | low);
			i += 2;
		}
		if (c == '\0') {
			buf_cut(out, before);
			return false;
		}
		to[len++] = c;
	}
	buf_cut(out, before + len);
	return true;
}

bool query_get(struct span query, const char *name, struct buf *out)
{
	size_t name_len = strlen(name);

	while (query.len > 0) {
		const char *amp = memchr(query.bytes, '&', query.len);
		size_t len = amp ? (size_t)(amp - query.bytes) : query.len;
		size_t used = amp ? len + 1 : len;

		if (len >= name_len && memcmp(query.bytes, name, name_len) == 0 &&
		    (len == name_len || query.bytes[name_len] == '=')) {
			size_t start = MIN(name_len + 1, len); /* without `=` its value is empty */

			/* That there was no memory is for the caller to see. */
			if (!query_decode((struct span){query.bytes + start, len - start}, true, out) && buf_ok(out))
				buf_clear(out);
			return true;
		}
		query.bytes += used;
		query.len -= used;
	}
	return false;
}
