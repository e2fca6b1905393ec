#include "domain/topic/cursor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum err cursor_parse(struct cursor *c, const char *text, size_t len)
{
	struct cursor parsed = {0};
	size_t i = 0;

	for (; i < len && text[i] != '-'; i++) {
		char ch = text[i];

		if (i == EPOCH_MAX || !((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z')))
			return ERR_INPUT;
		parsed.epoch[i] = ch;
	}
	if (i == 0 || i + 1 >= len)
		return ERR_INPUT;
	for (i++; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return ERR_INPUT;
		uint64_t digit = (uint64_t)(text[i] - '0');

		if (parsed.seq > ((uint64_t)INT64_MAX - digit) / 10)
			return ERR_INPUT;
		parsed.seq = parsed.seq * 10 + digit;
	}
	*c = parsed;
	return OK;
}

char *cursor_text(char out[CURSOR_TEXT_SIZE], const char *epoch, uint64_t seq)
{
	snprintf(out, CURSOR_TEXT_SIZE, "%s-%" PRIu64, epoch, seq);
	return out;
}
