#include "domain/topic/message_type.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "domain/text/json.h"
#include "domain/text/utf8.h"

#define NAME_CHARS_MAX 128

struct message_types {
	unsigned refs;
	size_t count;
	char *names[MESSAGE_TYPES_MAX]; /* owned */
	struct buf json;		/* owned: `["a","b"]` */
};

bool message_type_is_own(const char *type)
{
	static const char *const own[] = {
		"authenticated",
		"close",
		"connect",
		"connection_established",
		"error",
		"heartbeat",
		"join",
		"leave",
		"pong",
		"presence",
		"reconnect_messages",
		"revoked",
		"subscribed",
		"token_expiring",
		"token_refreshed",
		"unsubscribed",
	};

	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (strcmp(own[i], type) == 0)
			return true;
	return false;
}

static bool has_name(const struct message_types *types, const char *name, size_t len)
{
	for (size_t i = 0; i < types->count; i++)
		if (strlen(types->names[i]) == len && memcmp(types->names[i], name, len) == 0)
			return true;
	return false;
}

static bool is_name(struct span name)
{
	return name.len > 0 && utf8_valid(name.bytes, name.len) && !memchr(name.bytes, '\0', name.len) &&
	       utf8_length(name.bytes, name.len) <= NAME_CHARS_MAX;
}

enum err message_types_add(struct message_types **types, struct span name)
{
	struct message_types *t = *types;

	if (!t)
		t = *types = calloc(1, sizeof(*t));
	if (!t)
		return ERR_MEMORY;
	if (t->count == 0)
		t->refs = 1;
	if (t->count == MESSAGE_TYPES_MAX || !is_name(name) || has_name(t, name.bytes, name.len))
		return ERR_INPUT;
	t->names[t->count] = strndup(name.bytes, name.len);
	if (!t->names[t->count])
		return ERR_MEMORY;
	if (t->count > 0)
		buf_cut(&t->json, t->json.len - 1);
	buf_add_text(&t->json, t->count == 0 ? "[" : ",");
	json_add_string(&t->json, name.bytes, name.len);
	buf_add_text(&t->json, "]");
	t->count++;
	return buf_ok(&t->json) ? OK : ERR_MEMORY;
}

enum err message_types_of_list(struct message_types **types, struct span list)
{
	enum err e = OK;

	while (e == OK) {
		const char *comma = list.len > 0 ? memchr(list.bytes, ',', list.len) : NULL;
		size_t len = comma ? (size_t)(comma - list.bytes) : list.len;

		e = message_types_add(types, (struct span){list.bytes, len});
		if (!comma)
			break;
		list.bytes += len + 1;
		list.len -= len + 1;
	}
	return e;
}

struct message_types *message_types_ref(struct message_types *types)
{
	if (types)
		types->refs++;
	return types;
}

void message_types_unref(struct message_types **types)
{
	struct message_types *t = *types;

	*types = NULL;
	if (!t || --t->refs > 0)
		return;
	for (size_t i = 0; i < t->count; i++)
		free(t->names[i]);
	buf_free(&t->json);
	free(t);
}

const char *message_types_json(const struct message_types *types)
{
	return types ? types->json.bytes : NULL;
}

static bool has_at(struct span message, size_t at, const char *text)
{
	return message.len >= at + strlen(text) && memcmp(message.bytes + at, text, strlen(text)) == 0;
}

/* Where the body itself goes on, behind what message_add() puts in front of it. */
static size_t body_start(struct span message)
{
	static const char *const front[] = {"\"seq\":", "\"cursor\":\""};
	size_t at = 1;

	for (size_t i = 0; i < ARRAY_LEN(front); i++)
		if (has_at(message, at, front[i]))
			for (at += strlen(front[i]); at < message.len && message.bytes[at - 1] != ','; at++)
				;
	return at;
}

/* The type of a message as it is written, with its quotes; empty: it has none. */
static struct span written_type(struct span message)
{
	static const char type[] = "\"type\":\"";
	size_t at = body_start(message), end;

	if (!has_at(message, at, type))
		return (struct span){0};
	at += strlen(type) - 1;
	for (end = at + 1; end < message.len && message.bytes[end] != '"'; end++)
		end += message.bytes[end] == '\\';
	return end < message.len ? (struct span){message.bytes + at, end + 1 - at} : (struct span){0};
}

/* Without memory: it comes, which does less harm than one that is lacking. */
static bool have_escaped(const struct message_types *types, struct span written)
{
	struct json_object *value = NULL;
	const char *problem;
	bool have = true;

	if (json_read(&value, written.bytes, written.len, &problem) == OK)
		have = has_name(types, json_object_get_string(value), (size_t)json_object_get_string_len(value));
	json_object_put(value);
	return have;
}

bool message_types_have(const struct message_types *types, struct span message)
{
	struct span written;

	if (!types)
		return true;
	written = written_type(message);
	if (written.len < 2)
		return false;
	if (memchr(written.bytes, '\\', written.len))
		return have_escaped(types, written);
	return has_name(types, written.bytes + 1, written.len - 2);
}
