#include "domain/http/header_list.h"

#include <string.h>
#include <strings.h>

struct span list_trim(struct span s)
{
	while (s.len > 0 && (s.bytes[0] == ' ' || s.bytes[0] == '\t')) {
		s.bytes++;
		s.len--;
	}
	while (s.len > 0 && (s.bytes[s.len - 1] == ' ' || s.bytes[s.len - 1] == '\t'))
		s.len--;
	return s;
}

bool list_next(struct span *list, char separator, struct span *item)
{
	while (list->len > 0) {
		const char *end = memchr(list->bytes, separator, list->len);
		size_t len = end ? (size_t)(end - list->bytes) : list->len;
		size_t used = end ? len + 1 : len;

		*item = list_trim((struct span){list->bytes, len});
		list->bytes += used;
		list->len -= used;
		if (item->len > 0)
			return true;
	}
	return false;
}

bool header_list_next(struct header_list *list, struct span *item)
{
	while (list->count > 0) {
		if (list_next(&list->lines[0], ',', item))
			return true;
		list->count--;
		memmove(list->lines, list->lines + 1, list->count * sizeof(list->lines[0]));
	}
	return false;
}

bool header_list_add(struct header_list *list, struct span line)
{
	if (list->count == HEADER_LINES_MAX)
		return false;
	list->lines[list->count++] = line;
	return true;
}

bool header_list_has(struct header_list list, const char *wanted)
{
	struct span item;

	while (header_list_next(&list, &item)) {
		if (item.len == strlen(wanted) && strncasecmp(item.bytes, wanted, item.len) == 0)
			return true;
	}
	return false;
}
