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

static bool is_word(struct span item, const char *word)
{
	return item.len == strlen(word) && strncasecmp(item.bytes, word, item.len) == 0;
}

bool header_list_has(struct header_list list, const char *wanted)
{
	struct span item;

	while (header_list_next(&list, &item)) {
		if (is_word(item, wanted))
			return true;
	}
	return false;
}

/* `q=0`, `q=0.000` */
static bool is_weight_zero(struct span parameter)
{
	if (parameter.len < 3 || strncasecmp(parameter.bytes, "q=0", 3) != 0)
		return false;
	for (size_t i = 3; i < parameter.len; i++)
		if (parameter.bytes[i] != '.' && parameter.bytes[i] != '0')
			return false;
	return true;
}

bool header_list_accepts(struct header_list accept, const char *type)
{
	struct span range, part;

	while (header_list_next(&accept, &range)) {
		bool wanted = list_next(&range, ';', &part) && is_word(part, type);

		while (wanted && list_next(&range, ';', &part))
			wanted = !is_weight_zero(part);
		if (wanted)
			return true;
	}
	return false;
}
