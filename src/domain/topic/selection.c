#include "domain/topic/selection.h"

#include <stdlib.h>
#include <string.h>

static struct selection *selection_new(size_t count)
{
	struct selection *s = calloc(1, sizeof(*s) + count * sizeof(s->items[0]));

	if (s)
		s->count = count;
	return s;
}

static void read_cursor(struct selected *item, struct span text)
{
	item->has_cursor = true;
	item->cursor_damaged = cursor_parse(&item->cursor, text.bytes, text.len) != OK;
}

enum err selection_of_diagnosis(struct selection **out, int64_t diagnosis_id, const char *cursor)
{
	struct selection *s = selection_new(1);

	if (!s)
		return ERR_MEMORY;
	s->diagnosis_id = diagnosis_id;
	topic_of_diagnosis(s->items[0].topic, diagnosis_id);
	if (cursor)
		read_cursor(&s->items[0], (struct span){cursor, strlen(cursor)});
	*out = s;
	return OK;
}

/* Takes what lies before the next separator, or all of it, off `rest`. */
static struct span take_part(struct span *rest, char separator)
{
	const char *end = memchr(rest->bytes, separator, rest->len);
	struct span part = {rest->bytes, end ? (size_t)(end - rest->bytes) : rest->len};
	size_t used = end ? part.len + 1 : part.len;

	rest->bytes += used;
	rest->len -= used;
	return part;
}

static size_t count_parts(struct span text, char separator)
{
	size_t count = 1;

	for (size_t i = 0; i < text.len; i++)
		count += text.bytes[i] == separator;
	return count;
}

static bool add_topic(struct selection *s, size_t index, struct span name)
{
	if (!topic_name_valid(name.bytes, name.len))
		return false;
	memcpy(s->items[index].topic, name.bytes, name.len);
	for (size_t i = 0; i < index; i++)
		if (strcmp(s->items[i].topic, s->items[index].topic) == 0)
			return false;
	return true;
}

/* An empty part: that topic has none. */
static void read_combined(struct selection *s, const char *cursor)
{
	struct span rest = {cursor, strlen(cursor)};
	bool fits = count_parts(rest, '.') == s->count;

	for (size_t i = 0; i < s->count; i++) {
		struct span part = fits ? take_part(&rest, '.') : (struct span){"", 0};

		if (!fits || part.len > 0)
			read_cursor(&s->items[i], part);
	}
}

enum err selection_of_topics(struct selection **out, struct span topics, const char *cursor)
{
	size_t count = count_parts(topics, ',');
	struct selection *s;

	if (topics.len == 0 || count > SELECTION_MAX)
		return ERR_INPUT;
	s = selection_new(count);
	if (!s)
		return ERR_MEMORY;
	for (size_t i = 0; i < count; i++) {
		if (!add_topic(s, i, take_part(&topics, ','))) {
			free(s);
			return ERR_INPUT;
		}
	}
	if (cursor)
		read_combined(s, cursor);
	*out = s;
	return OK;
}
