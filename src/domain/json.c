#include "domain/json.h"

#include <limits.h>
#include <string.h>

#include "base/hex.h"
#include "domain/decimal.h"
#include "domain/utf8.h"

#define EXACT_DIGITS 18 /* of an integer, its sign included: json-c holds any such, and prints it as it was written */

struct scan {
	const char *at;
	const char *end;
	const char *problem; /* static; set when a scan fails */
	size_t members;	     /* of all objects so far */
	int depth;
	bool long_integers; /* there is one that json-c may not hold */
};

static bool scan_value(struct scan *s);

static bool fail(struct scan *s, const char *problem)
{
	s->problem = problem;
	return false;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void skip_space(struct scan *s)
{
	while (s->at < s->end && is_space(*s->at))
		s->at++;
}

/* Takes `c` if it is next. */
static bool take(struct scan *s, char c)
{
	if (s->at == s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

static bool starts_with(const struct scan *s, const char *word)
{
	size_t len = strlen(word);

	return (size_t)(s->end - s->at) >= len && memcmp(s->at, word, len) == 0;
}

/* What other languages write for a value. */
static bool fail_value(struct scan *s)
{
	static const char *const words[] = {"NaN", "Infinity", "-Infinity", "True", "False", "None", "undefined"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (starts_with(s, words[i]))
			return fail(s, "The body is not JSON: NaN, Infinity, True, False, None and undefined are no "
				       "values there.");
	return fail(s, "The body is not JSON: a value is expected where there is none.");
}

static bool scan_word(struct scan *s, const char *word)
{
	if (!starts_with(s, word))
		return fail_value(s);
	s->at += strlen(word);
	return true;
}

/* At least one. */
static bool scan_digits(struct scan *s)
{
	const char *start = s->at;

	while (s->at < s->end && is_digit(*s->at))
		s->at++;
	return s->at > start;
}

static bool scan_number(struct scan *s)
{
	static const char problem[] = "The body is not JSON: a number is malformed.";
	const char *start = s->at;

	take(s, '-');
	if (!take(s, '0') && !scan_digits(s))
		return fail(s, problem);
	if (s->at < s->end && is_digit(*s->at))
		return fail(s, problem);
	s->long_integers = s->long_integers || s->at - start > EXACT_DIGITS;
	if (take(s, '.') && !scan_digits(s))
		return fail(s, problem);
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			take(s, '-');
		if (!scan_digits(s))
			return fail(s, problem);
	}
	return true;
}

/* The four digits of \uXXXX; -1: they are not. */
static int scan_hex(struct scan *s)
{
	int value = 0;

	if (s->end - s->at < 4)
		return -1;
	for (int i = 0; i < 4; i++, s->at++) {
		int digit = hex_value(*s->at);

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

/* After the backslash. */
static bool scan_escape(struct scan *s)
{
	static const char half[] = "The body is not UTF-8: half of a surrogate pair stands alone.";
	static const char malformed[] = "The body is not JSON: a string has an unknown escape.";
	int unit = 0;

	if (s->at == s->end)
		return fail(s, malformed);
	if (*s->at != 'u') {
		if (*s->at == '\0' || !strchr("\"\\/bfnrt", *s->at))
			return fail(s, malformed);
		s->at++;
		return true;
	}
	s->at++;
	unit = scan_hex(s);
	if (unit < 0)
		return fail(s, malformed);
	if (unit == 0)
		return fail(s, "The body holds a NUL character.");
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return fail(s, half);
	if (unit >= 0xd800 && unit <= 0xdbff) {
		if (!take(s, '\\') || !take(s, 'u'))
			return fail(s, half);
		unit = scan_hex(s);
		if (unit < 0xdc00 || unit > 0xdfff)
			return fail(s, half);
	}
	return true;
}

static bool scan_string(struct scan *s)
{
	if (!take(s, '"'))
		return fail(s, "The body is not JSON: a key in double quotes is expected.");
	while (s->at < s->end) {
		unsigned char c = (unsigned char)*s->at++;

		if (c == '"')
			return true;
		if (c < 0x20)
			return fail(s, "The body is not JSON: a control character stands unescaped in a string.");
		if (c == '\\' && !scan_escape(s))
			return false;
	}
	return fail(s, "The body is not JSON: a string does not end.");
}

/* The key and its colon. */
static bool scan_key(struct scan *s)
{
	skip_space(s);
	if (!scan_string(s))
		return false;
	skip_space(s);
	if (!take(s, ':'))
		return fail(s, "The body is not JSON: a colon is missing after a key.");
	s->members++;
	return true;
}

static bool scan_container(struct scan *s, char open, char close)
{
	take(s, open);
	if (++s->depth > JSON_DEPTH_MAX)
		return fail(s, "The body is nested more than 32 levels deep.");
	skip_space(s);
	if (!take(s, close)) {
		do {
			if (open == '{' && !scan_key(s))
				return false;
			if (!scan_value(s))
				return false;
			skip_space(s);
		} while (take(s, ','));
		if (!take(s, close))
			return fail(s, "The body is not JSON: a comma or a closing bracket is missing.");
	}
	s->depth--;
	return true;
}

static bool scan_value(struct scan *s)
{
	skip_space(s);
	if (s->at == s->end)
		return fail(s, "The body is not JSON: it ends too early.");
	switch (*s->at) {
	case '{':
		return scan_container(s, '{', '}');
	case '[':
		return scan_container(s, '[', ']');
	case '"':
		return scan_string(s);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	default:
		if ((*s->at != '-' && !is_digit(*s->at)) || starts_with(s, "-Infinity"))
			return fail_value(s);
		return scan_number(s);
	}
}

/* Keys of all objects of the tree: fewer than in the text when one came twice. */
static size_t count_members(struct json_object *value)
{
	size_t count = 0;

	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member)
		{
			(void)key;
			count += 1 + count_members(member);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++)
			count += count_members(json_object_array_get_idx(value, i));
	}
	return count;
}

static enum err check(const char *text, size_t len, size_t *members, bool *long_integers, const char **problem)
{
	struct scan s = {.at = text, .end = text + len};

	if (memchr(text, '\0', len)) {
		*problem = "The body holds a NUL character.";
		return ERR_INPUT;
	}
	if (!utf8_valid(text, len)) {
		*problem = "The body is not UTF-8.";
		return ERR_INPUT;
	}
	if (!scan_value(&s)) {
		*problem = s.problem;
		return ERR_INPUT;
	}
	skip_space(&s);
	if (s.at != s.end) {
		*problem = "The body is not JSON: something follows after its end.";
		return ERR_INPUT;
	}
	*members = s.members;
	*long_integers = s.long_integers;
	return OK;
}

static enum err parse(struct json_object **root, const char *text, size_t len)
{
	struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX + 2);
	struct json_object *parsed = NULL;
	enum json_tokener_error result = json_tokener_success;

	if (!tokener)
		return ERR_MEMORY;
	parsed = json_tokener_parse_ex(tokener, text, (int)len);
	result = json_tokener_get_error(tokener);
	if (result == json_tokener_continue) {
		/* A number ends only where something else begins. */
		parsed = json_tokener_parse_ex(tokener, "", 1);
		result = json_tokener_get_error(tokener);
	}
	json_tokener_free(tokener);
	if (result != json_tokener_success) {
		json_object_put(parsed);
		return ERR_MEMORY; /* the text is checked: nothing else is left to go wrong */
	}
	*root = parsed;
	return OK;
}

static bool keep_text(struct json_object *integer, struct span text)
{
	char *copy = strndup(text.bytes, text.len);

	if (copy)
		json_object_set_serializer(integer, json_object_userdata_to_json_string, copy,
					   json_object_free_userdata);
	return copy != NULL;
}

/*
 * Has each integer that json-c may not hold print as it was written. json-c does so with fractions by itself.
 *
 *	text	of the value, checked
 *
 * False: no memory.
 */
static bool keep_texts(struct json_object *value, struct span text)
{
	struct span rest = text, part;

	if (json_object_is_type(value, json_type_int)) {
		return text.len <= EXACT_DIGITS || keep_text(value, text);
	} else if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member)
		{
			(void)key;
			if (json_next(&rest, &part) && !keep_texts(member, part))
				return false;
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; json_next(&rest, &part); i++)
			if (!keep_texts(json_object_array_get_idx(value, i), part))
				return false;
	}
	return true;
}

static struct span trimmed(const char *text, size_t len)
{
	while (len > 0 && is_space(text[0])) {
		text++;
		len--;
	}
	while (len > 0 && is_space(text[len - 1]))
		len--;
	return (struct span){text, len};
}

enum err json_read(struct json_object **root, const char *text, size_t len, const char **problem)
{
	struct json_object *parsed = NULL;
	size_t members = 0;
	bool long_integers = false;
	enum err e = OK;

	if (len == 0 || len > INT_MAX) {
		*problem = len == 0 ? "The body is empty: JSON is expected." : "The body is too large.";
		return ERR_INPUT;
	}
	e = check(text, len, &members, &long_integers, problem);
	if (e != OK)
		return e;
	e = parse(&parsed, text, len);
	if (e != OK)
		return e;
	if (count_members(parsed) != members) {
		json_object_put(parsed);
		*problem = "The body has an object with the same key twice.";
		return ERR_INPUT;
	}
	if (long_integers && !keep_texts(parsed, trimmed(text, len))) {
		json_object_put(parsed);
		return ERR_MEMORY;
	}
	*root = parsed;
	return OK;
}

bool json_next(struct span *rest, struct span *value)
{
	struct scan s = {.at = rest->bytes, .end = rest->bytes + rest->len};
	const char *start = NULL;

	skip_space(&s);
	/* The bracket that opens it, or the comma before the next. */
	if (s.at == s.end || *s.at == '}' || *s.at == ']')
		return false;
	s.at++;
	skip_space(&s);
	if (s.at == s.end || *s.at == '}' || *s.at == ']')
		return false;
	/* Only an object has a string with a colon after it here. */
	start = s.at;
	if (*s.at == '"') {
		if (!scan_string(&s))
			return false;
		skip_space(&s);
		if (take(&s, ':'))
			skip_space(&s);
		else
			s.at = start;
		start = s.at;
	}
	if (!scan_value(&s))
		return false;
	*value = (struct span){start, (size_t)(s.at - start)};
	*rest = (struct span){s.at, (size_t)(s.end - s.at)};
	return true;
}

static bool is_number(struct json_object *value)
{
	return json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double);
}

static struct span number_text(struct json_object *value)
{
	const char *text = json_object_get_string(value);

	return (struct span){text, text ? strlen(text) : 0};
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
	if (is_number(a) && is_number(b))
		return decimal_compare(number_text(a), number_text(b)) == 0;
	if (json_object_get_type(a) != json_object_get_type(b))
		return false;
	if (json_object_is_type(a, json_type_object))
		return equal_objects(a, b);
	if (json_object_is_type(a, json_type_array)) {
		size_t len = json_object_array_length(a);

		if (json_object_array_length(b) != len)
			return false;
		for (size_t i = 0; i < len; i++)
			if (!json_equal(json_object_array_get_idx(a, i), json_object_array_get_idx(b, i)))
				return false;
		return true;
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
		} else if (!in_string && is_space(c)) {
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
