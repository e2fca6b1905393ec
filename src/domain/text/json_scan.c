#include "domain/text/json_scan.h"

#include <string.h>

#include "base/hex.h"
#include "domain/text/utf8.h"

static bool fail(struct json_scan *s, const char *problem)
{
	s->problem = problem;
	return false;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool starts_with(const struct json_scan *s, const char *word)
{
	size_t len = strlen(word);

	return (size_t)(s->end - s->at) >= len && memcmp(s->at, word, len) == 0;
}

/* What other languages write for a value. */
static bool fail_value(struct json_scan *s)
{
	static const char *const words[] = {"NaN", "Infinity", "-Infinity", "True", "False", "None", "undefined"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (starts_with(s, words[i]))
			return fail(s, "The body is not JSON: NaN, Infinity, True, False, None and undefined are no "
				       "values there.");
	return fail(s, "The body is not JSON: a value is expected where there is none.");
}

static bool scan_word(struct json_scan *s, const char *word)
{
	if (!starts_with(s, word))
		return fail_value(s);
	s->at += strlen(word);
	return true;
}

/* At least one. */
static bool scan_digits(struct json_scan *s)
{
	const char *start = s->at;

	while (s->at < s->end && is_digit(*s->at))
		s->at++;
	return s->at > start;
}

bool json_scan_number(struct json_scan *s)
{
	static const char problem[] = "The body is not JSON: a number is malformed.";

	json_scan_take(s, '-');
	if (!json_scan_take(s, '0') && !scan_digits(s))
		return fail(s, problem);
	if (s->at < s->end && is_digit(*s->at))
		return fail(s, problem);
	if (json_scan_take(s, '.') && !scan_digits(s))
		return fail(s, problem);
	if (json_scan_take(s, 'e') || json_scan_take(s, 'E')) {
		if (!json_scan_take(s, '+'))
			json_scan_take(s, '-');
		if (!scan_digits(s))
			return fail(s, problem);
	}
	return true;
}

int json_scan_hex(struct json_scan *s)
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
static bool scan_escape(struct json_scan *s)
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
	unit = json_scan_hex(s);
	if (unit < 0)
		return fail(s, malformed);
	if (unit == 0)
		return fail(s, "The body holds a NUL character.");
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return fail(s, half);
	if (unit >= 0xd800 && unit <= 0xdbff) {
		if (!json_scan_take(s, '\\') || !json_scan_take(s, 'u'))
			return fail(s, half);
		unit = json_scan_hex(s);
		if (unit < 0xdc00 || unit > 0xdfff)
			return fail(s, half);
	}
	return true;
}

bool json_scan_string(struct json_scan *s)
{
	if (!json_scan_take(s, '"'))
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
static bool scan_key(struct json_scan *s)
{
	json_scan_space(s);
	if (!json_scan_string(s))
		return false;
	json_scan_space(s);
	if (!json_scan_take(s, ':'))
		return fail(s, "The body is not JSON: a colon is missing after a key.");
	return true;
}

static bool scan_container(struct json_scan *s, char open, char close)
{
	json_scan_take(s, open);
	if (++s->depth > JSON_DEPTH_MAX)
		return fail(s, "The body is nested more than 32 levels deep.");
	json_scan_space(s);
	if (!json_scan_take(s, close)) {
		do {
			if (open == '{' && !scan_key(s))
				return false;
			if (!json_scan_value(s))
				return false;
			json_scan_space(s);
		} while (json_scan_take(s, ','));
		if (!json_scan_take(s, close))
			return fail(s, "The body is not JSON: a comma or a closing bracket is missing.");
	}
	s->depth--;
	return true;
}

bool json_scan_value(struct json_scan *s)
{
	json_scan_space(s);
	if (s->at == s->end)
		return fail(s, "The body is not JSON: it ends too early.");
	switch (*s->at) {
	case '{':
		return scan_container(s, '{', '}');
	case '[':
		return scan_container(s, '[', ']');
	case '"':
		return json_scan_string(s);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	default:
		if ((*s->at != '-' && !is_digit(*s->at)) || starts_with(s, "-Infinity"))
			return fail_value(s);
		return json_scan_number(s);
	}
}

enum err json_scan_check(const char *text, size_t len, const char **problem)
{
	struct json_scan s = {.at = text, .end = text + len};

	if (memchr(text, '\0', len)) {
		*problem = "The body holds a NUL character.";
		return ERR_INPUT;
	}
	if (!utf8_valid(text, len)) {
		*problem = "The body is not UTF-8.";
		return ERR_INPUT;
	}
	if (!json_scan_value(&s)) {
		*problem = s.problem;
		return ERR_INPUT;
	}
	json_scan_space(&s);
	if (s.at != s.end) {
		*problem = "The body is not JSON: something follows after its end.";
		return ERR_INPUT;
	}
	return OK;
}
