#include "domain/topic/selection.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/http/query.h"

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

void selection_free(struct selection **s)
{
	if (!*s)
		return;
	message_types_unref(&(*s)->types);
	free(*s);
	*s = NULL;
}

/*
 * Which topics, and where in them. An empty cursor is a bad one, not none, but where topics are named: there an empty part is none.
 *
 * ERR_INPUT  it names no topics, or not as they should be
 */
static enum err read_places(struct selection **out, struct span query, struct span last_event_id, int64_t diagnosis_id)
{
	struct buf cursor = BUF_EMPTY, topics = BUF_EMPTY;
	const char *from = NULL;
	enum err e = ERR_INPUT;

	if (last_event_id.len > 0)
		buf_add(&cursor, last_event_id.bytes, last_event_id.len);
	else if (query_get(query, "cursor", &cursor) && cursor.len == 0)
		from = diagnosis_id > 0 ? " " : "";
	if (cursor.len > 0)
		from = cursor.bytes;
	if (diagnosis_id > 0)
		e = selection_of_diagnosis(out, diagnosis_id, from);
	else if (query_get(query, "topics", &topics) && topics.len > 0)
		e = selection_of_topics(out, (struct span){topics.bytes, topics.len}, from);
	if (!buf_ok(&cursor) || !buf_ok(&topics)) {
		if (e == OK)
			selection_free(out);
		e = ERR_MEMORY;
	}
	buf_free(&cursor);
	buf_free(&topics);
	return e;
}

/* ERR_INPUT  it is there, and not as it should be */
static enum err read_types(struct selection *s, struct span query)
{
	struct buf text = BUF_EMPTY;
	enum err e = OK;

	if (query_get(query, "types", &text))
		e = message_types_of_list(&s->types, (struct span){text.bytes, text.len});
	if (!buf_ok(&text))
		e = ERR_MEMORY;
	buf_free(&text);
	return e;
}

static enum err read_rewind(int64_t *rewind, struct span query)
{
	struct buf text = BUF_EMPTY;
	enum err e = OK;

	if (query_get(query, "rewind", &text) &&
	    (!topic_parse_id(text.bytes ? text.bytes : "", text.len, rewind) || *rewind > REWIND_MAX))
		e = ERR_INPUT;
	if (!buf_ok(&text))
		e = ERR_MEMORY;
	buf_free(&text);
	return e;
}

static enum err read_presence(bool *presence, struct span query)
{
	struct buf text = BUF_EMPTY;
	bool there = query_get(query, "presence", &text);
	enum err e = OK;

	*presence = there && text.len > 0 && strcmp(text.bytes, "yes") == 0;
	if (there && !*presence && !(text.len > 0 && strcmp(text.bytes, "no") == 0))
		e = ERR_INPUT;
	if (!buf_ok(&text))
		e = ERR_MEMORY;
	buf_free(&text);
	return e;
}

bool device_name_valid(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && !memchr("_.-", name[i], 3))
			return false;
	return len >= 1 && len <= DEVICE_NAME_MAX;
}

enum err selection_device(char device[DEVICE_NAME_MAX + 1], struct span query, struct problem *problem)
{
	struct buf text = BUF_EMPTY;
	enum err e = OK;

	device[0] = '\0';
	if (query_get(query, "device", &text)) {
		if (!device_name_valid(text.bytes ? text.bytes : "", text.len))
			problem_add_field(problem, "", "device", DEVICE_SENTENCE);
		else
			snprintf(device, DEVICE_NAME_MAX + 1, "%s", text.bytes);
	}
	if (!buf_ok(&text))
		e = ERR_MEMORY;
	buf_free(&text);
	return e;
}

enum err selection_of_query(struct selection **out, struct span query, struct span last_event_id, int64_t diagnosis_id,
			    struct problem *problem)
{
	struct selection fallback = {0}, *s = NULL;
	int64_t rewind = 0;
	bool presence = false;
	enum err places = read_places(&s, query, last_event_id, diagnosis_id);
	enum err types = read_types(s ? s : &fallback, query), back = read_rewind(&rewind, query);
	enum err who = read_presence(&presence, query);
	size_t wrong = problem->errors_count;
	enum err device = selection_device((s ? s : &fallback)->device, query, problem);

	if (places == ERR_INPUT)
		problem_add_field(problem, "", "topics",
				  "must be 1 to 100 different names of topics, joined by commas");
	if (types == ERR_INPUT)
		problem_add_field(problem, "", "types", MESSAGE_TYPES_SENTENCE);
	if (back == ERR_INPUT)
		problem_add_field(problem, "", "rewind", REWIND_SENTENCE);
	if (who == ERR_INPUT)
		problem_add_field(problem, "", "presence", "must be yes or no");
	message_types_unref(&fallback.types);
	for (size_t i = 0; s && i < s->count; i++) {
		s->items[i].types = s->types;
		s->items[i].rewind = rewind;
		s->items[i].presence = presence;
		if (last_event_id.len > 0 && s->items[i].has_cursor)
			s->items[i].cursor_origin = CURSOR_OF_LAST_EVENT;
	}
	if (places != OK || types != OK || back != OK || who != OK || device != OK || problem->errors_count > wrong)
		selection_free(&s);
	*out = s;
	return places == ERR_MEMORY || types == ERR_MEMORY || back == ERR_MEMORY || who == ERR_MEMORY ||
			       device == ERR_MEMORY
		       ? ERR_MEMORY
		       : OK;
}
