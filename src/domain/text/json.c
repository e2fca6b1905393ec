#include "domain/text/json.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/text/decimal.h"
#include "domain/text/json_scan.h"

#define EXACT_DIGITS 18 /* of an integer, its sign included: json-c holds any such */

/* ---- the tree, of a checked text: nothing but memory, or a key that comes twice, is left to go wrong */

static void add_utf8(struct buf *out, unsigned c)
{
	char bytes[4];
	size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = len; i-- > 1; c >>= 6)
		bytes[i] = (char)(0x80 | (c & 0x3f));
	bytes[0] = (char)(len == 1 ? c : (0xf00U >> len & 0xf0) | c);
	buf_add(out, bytes, len);
}

/* After the backslash. */
static void add_escaped(struct json_scan *s, struct buf *out)
{
	static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	char letter = *s->at++;
	unsigned unit;

	if (letter != 'u') {
		buf_add(out, meant + (strchr(letters, letter) - letters), 1);
		return;
	}
	unit = (unsigned)json_scan_hex(s);
	if (unit >= 0xd800 && unit <= 0xdbff) {
		s->at += 2;
		unit = 0x10000 + ((unit - 0xd800) << 10) + ((unsigned)json_scan_hex(s) - 0xdc00);
	}
	add_utf8(out, unit);
}

/* The string that is next, as it is meant, with a NUL behind it. */
static enum err read_string(struct json_scan *s, struct buf *out)
{
	buf_clear(out);
	for (s->at++; *s->at != '"';) {
		const char *start = s->at;

		while (*s->at != '"' && *s->at != '\\')
			s->at++;
		buf_add(out, start, (size_t)(s->at - start));
		if (json_scan_take(s, '\\'))
			add_escaped(s, out);
	}
	s->at++;
	buf_add(out, "", 0);
	return buf_ok(out) ? OK : ERR_MEMORY;
}

/* Has an integer that json-c may not hold keep how it was written, as json-c does with fractions by itself. */
static struct json_object *new_long_integer(const char *text)
{
	uint64_t size = text[0] == '-' ? 0 : strtoull(text, NULL, 10);
	struct json_object *made =
		size > INT64_MAX ? json_object_new_uint64(size) : json_object_new_int64(strtoll(text, NULL, 10));
	char *copy = made ? strdup(text) : NULL;

	if (copy) {
		json_object_set_serializer(made, json_object_userdata_to_json_string, copy, json_object_free_userdata);
		return made;
	}
	json_object_put(made);
	return NULL;
}

static struct json_object *new_number(const char *text)
{
	if (text[strspn(text, "-0123456789")] != '\0')
		return json_object_new_double_s(strtod(text, NULL), text);
	return strlen(text) <= EXACT_DIGITS ? json_object_new_int64(strtoll(text, NULL, 10)) : new_long_integer(text);
}

static enum err build_value(struct json_scan *s, struct buf *room, struct json_object **out);

/* Values up to the bracket that closes `made`, which is nobody's where they are not all there. */
static enum err build_members(struct json_scan *s, struct buf *room, bool has_keys, struct json_object *made)
{
	char close = has_keys ? '}' : ']';

	for (s->at++, json_scan_space(s); !json_scan_take(s, close); json_scan_space(s)) {
		struct json_object *value = NULL;
		struct buf key = BUF_EMPTY;
		enum err e = OK;

		json_scan_take(s, ',');
		json_scan_space(s);
		if (has_keys) {
			e = read_string(s, &key);
			json_scan_space(s);
			json_scan_take(s, ':');
		}
		if (e == OK && has_keys && json_object_object_get_ex(made, key.bytes, NULL)) {
			s->problem = "The body has an object with the same key twice.";
			e = ERR_INPUT;
		}
		if (e == OK)
			e = build_value(s, room, &value);
		if (e == OK && (has_keys ? json_object_object_add(made, key.bytes, value)
					 : json_object_array_add(made, value)) != 0) {
			json_object_put(value);
			e = ERR_MEMORY;
		}
		buf_free(&key);
		if (e != OK)
			return e;
	}
	return OK;
}

static enum err build_value(struct json_scan *s, struct buf *room, struct json_object **out)
{
	struct json_object *made = NULL;
	const char *start;
	enum err e = OK;

	json_scan_space(s);
	start = s->at;
	switch (*start) {
	case '{':
	case '[':
		made = *start == '{' ? json_object_new_object() : json_object_new_array();
		if (made)
			e = build_members(s, room, *start == '{', made);
		break;
	case '"':
		e = read_string(s, room);
		if (e == OK)
			made = json_object_new_string_len(room->bytes, (int)room->len);
		break;
	case 't':
	case 'f':
		s->at += *start == 't' ? strlen("true") : strlen("false");
		made = json_object_new_boolean(*start == 't');
		break;
	case 'n':
		s->at += strlen("null");
		*out = NULL;
		return OK;
	default:
		json_scan_number(s);
		buf_clear(room);
		buf_add(room, start, (size_t)(s->at - start));
		made = buf_ok(room) ? new_number(room->bytes) : NULL;
	}
	if (e == OK && !made)
		e = ERR_MEMORY;
	if (e != OK)
		json_object_put(made);
	else
		*out = made;
	return e;
}

enum err json_read(struct json_object **root, const char *text, size_t len, const char **problem)
{
	struct json_scan s = {.at = text, .end = text + len};
	struct buf room = BUF_EMPTY;
	enum err e = OK;

	if (len == 0 || len > INT_MAX) {
		*problem = len == 0 ? "The body is empty: JSON is expected." : "The body is too large.";
		return ERR_INPUT;
	}
	e = json_scan_check(text, len, problem);
	if (e != OK)
		return e;
	e = build_value(&s, &room, root);
	if (e == ERR_INPUT)
		*problem = s.problem;
	buf_free(&room);
	return e;
}

bool json_next(struct span *rest, struct span *value)
{
	struct json_scan s = {.at = rest->bytes, .end = rest->bytes + rest->len};
	const char *start = NULL;

	json_scan_space(&s);
	/* The bracket that opens it, or the comma before the next. */
	if (s.at == s.end || *s.at == '}' || *s.at == ']')
		return false;
	s.at++;
	json_scan_space(&s);
	if (s.at == s.end || *s.at == '}' || *s.at == ']')
		return false;
	/* Only an object has a string with a colon after it here. */
	start = s.at;
	if (*s.at == '"') {
		if (!json_scan_string(&s))
			return false;
		json_scan_space(&s);
		if (json_scan_take(&s, ':'))
			json_scan_space(&s);
		else
			s.at = start;
		start = s.at;
	}
	if (!json_scan_value(&s))
		return false;
	*value = (struct span){start, (size_t)(s.at - start)};
	*rest = (struct span){s.at, (size_t)(s.end - s.at)};
	return true;
}

static bool is_number(struct json_object *value)
{
	return json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double);
}

struct span json_number_text(struct json_object *number, char room[JSON_INTEGER_SIZE])
{
	const char *text = json_object_get_userdata(number);

	if (!text) {
		snprintf(room, JSON_INTEGER_SIZE, "%" PRId64, json_object_get_int64(number));
		text = room;
	}
	return (struct span){text, strlen(text)};
}

static bool equal_objects(struct json_object *a, struct json_object *b)
{
	if (json_object_object_length(a) != json_object_object_length(b))
		return false;
	json_object_object_foreach(a, key, member)
	{
		struct json_object *other = NULL;

		if (!json_object_object_get_ex(b, key, &other) || !json_equal(member, other))
			return false;
	}
	return true;
}

bool json_equal(struct json_object *a, struct json_object *b)
{
	char room_a[JSON_INTEGER_SIZE], room_b[JSON_INTEGER_SIZE];

	if (is_number(a) && is_number(b))
		return decimal_compare(json_number_text(a, room_a), json_number_text(b, room_b)) == 0;
	if (json_object_get_type(a) != json_object_get_type(b))
		return false;
	if (json_object_is_type(a, json_type_object))
		return equal_objects(a, b);
	if (json_object_is_type(a, json_type_array)) {
		size_t len = json_object_array_length(a), i = 0;

		if (json_object_array_length(b) != len)
			return false;
		while (i < len && json_equal(json_object_array_get_idx(a, i), json_object_array_get_idx(b, i)))
			i++;
		return i == len;
	}
	return json_object_equal(a, b);
}

bool json_int64(struct json_object *value, int64_t *number)
{
	if (!json_object_is_type(value, json_type_int))
		return false;
	*number = json_object_get_int64(value);
	/* The smallest is also what all below it are held as. */
	return *number < 0 ? *number > INT64_MIN : json_object_get_uint64(value) == (uint64_t)*number;
}

void json_add_compact(struct buf *out, struct span text)
{
	bool in_string = false;
	size_t start = 0; /* of what is not yet copied */

	for (size_t i = 0; i < text.len; i++) {
		char c = text.bytes[i];

		if (in_string && c == '\\') {
			i++;
		} else if (c == '"') {
			in_string = !in_string;
		} else if (!in_string && json_is_space(c)) {
			buf_add(out, text.bytes + start, i - start);
			start = i + 1;
		}
	}
	buf_add(out, text.bytes + start, text.len - start);
}

void json_add_string(struct buf *out, const char *text, size_t len)
{
	size_t start = 0; /* of what is not yet copied */

	buf_add(out, "\"", 1);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_add(out, text + start, i - start);
		start = i + 1;
		if (c < 0x20)
			buf_printf(out, "\\u%04x", c);
		else
			buf_printf(out, "\\%c", c);
	}
	buf_add(out, text + start, len - start);
	buf_add(out, "\"", 1);
}
