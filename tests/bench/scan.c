#include "tests/bench/scan.h"

#include <string.h>

/* Where the value of the first `"key":` starts, or NULL. */
static const char *value(struct span json, const char *key)
{
	const char *end = json.bytes + json.len, *at = json.bytes;
	size_t key_len = strlen(key);

	while ((at = memmem(at, (size_t)(end - at), key, key_len))) {
		at += key_len;
		while (at < end && *at == ' ')
			at++;
		if (at == end || *at++ != ':')
			continue;
		while (at < end && *at == ' ')
			at++;
		return at < end ? at : NULL;
	}
	return NULL;
}

int64_t scan_number(struct span json, const char *key)
{
	const char *at = value(json, key), *end = json.bytes + json.len;
	int64_t n = 0;

	if (!at || *at < '0' || *at > '9')
		return -1;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
		n = n * 10 + (*at - '0');
	return n;
}

struct span scan_text(struct span json, const char *key)
{
	const char *at = value(json, key), *end;

	if (!at || *at++ != '"')
		return (struct span){0};
	end = memchr(at, '"', (size_t)(json.bytes + json.len - at));
	return end ? (struct span){at, (size_t)(end - at)} : (struct span){0};
}

bool scan_is(struct span json, const char *key, const char *text)
{
	struct span found = scan_text(json, key);

	return found.len == strlen(text) && memcmp(found.bytes, text, found.len) == 0;
}

/* Bytes of the object or list at the start of `json`; 0: it does not end. */
static size_t extent(struct span json)
{
	unsigned depth = 0;
	bool text = false;

	for (size_t i = 0; i < json.len; i++) {
		char c = json.bytes[i];

		if (text && c == '\\')
			i++;
		else if (c == '"')
			text = !text;
		else if (!text && (c == '{' || c == '['))
			depth++;
		else if (!text && (c == '}' || c == ']') && --depth == 0)
			return i + 1;
	}
	return 0;
}

bool scan_list(struct span json, const char *key, struct span *items)
{
	const char *at = value(json, key);
	size_t len;

	if (!at || *at != '[')
		return false;
	len = extent((struct span){at, (size_t)(json.bytes + json.len - at)});
	*items = (struct span){at + 1, len ? len - 2 : 0};
	return len > 0;
}

bool scan_next(struct span *items, struct span *object)
{
	const char *at = memchr(items->bytes, '{', items->len);

	if (!at)
		return false;
	items->len -= (size_t)(at - items->bytes);
	items->bytes = at;
	*object = (struct span){at, extent(*items)};
	items->bytes += object->len;
	items->len -= object->len;
	return object->len > 0;
}
