#include "base/log/log_fields.h"

#include <assert.h>
#include <string.h>

#include "base/log/log_writer.h"

static const char cut_member[] = ",\"cut\":true";

static bool is_key_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (!first && ((c >= '0' && c <= '9') || c == '_'));
}

bool log_fields_next(struct span *pairs, struct log_field *field)
{
	const char *at = pairs->bytes, *end = at + pairs->len, *stop;

	while (at < end && *at == ' ')
		at++;
	stop = at;
	while (stop < end && is_key_char(*stop, stop == at))
		stop++;
	if (stop == at || stop == end || *stop != '=')
		return false;
	field->key = (struct span){at, (size_t)(stop - at)};
	at = stop + 1;
	field->quoted = at < end && *at == '"';
	at += field->quoted;
	stop = at < end ? memchr(at, field->quoted ? '"' : ' ', (size_t)(end - at)) : NULL;
	/* A line that was cut has no end of its last value. */
	if (!stop)
		stop = end;
	field->value = (struct span){at, (size_t)(stop - at)};
	stop += field->quoted && stop < end;
	if (stop < end && *stop != ' ')
		return false;
	*pairs = (struct span){stop, (size_t)(end - stop)};
	return true;
}

static bool is_all_pairs(struct span text)
{
	struct log_field field;

	while (log_fields_next(&text, &field))
		;
	while (text.len > 0 && text.bytes[0] == ' ') {
		text.bytes++;
		text.len--;
	}
	return text.len == 0;
}

size_t log_fields_start(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((i == 0 || text.bytes[i - 1] == ' ') && is_key_char(text.bytes[i], true) &&
		    is_all_pairs((struct span){text.bytes + i, text.len - i}))
			return i;
	return text.len;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t log_fields_value(char *out, size_t size, const struct log_field *field)
{
	const char *at = field->value.bytes, *end = at + field->value.len;
	size_t len = 0;

	while (at < end && len < size) {
		int high = field->quoted && end - at >= 4 && at[0] == '\\' && at[1] == 'x' ? hex_digit(at[2]) : -1;
		int low = high >= 0 ? hex_digit(at[3]) : -1;

		out[len++] = low >= 0 ? (char)(high * 16 + low) : *at;
		at += low >= 0 ? 4 : 1;
	}
	return len;
}

/* Bytes of the character of UTF-8 at `s`; 0: it is none (RFC 3629). */
static size_t character_length(const unsigned char *s, size_t len)
{
	size_t wanted = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

	if (wanted == 0 || wanted > len)
		return 0;
	for (size_t i = 1; i < wanted; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Longer than it need be, a surrogate, or beyond the last. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return wanted;
}

struct json_out {
	char *bytes;
	size_t size, len;
};

/* False: there is no room, and nothing was added. */
static bool add(struct json_out *out, const char *bytes, size_t len)
{
	if (len > out->size - out->len)
		return false;
	memcpy(out->bytes + out->len, bytes, len);
	out->len += len;
	return true;
}

static bool add_character(struct json_out *out, const char *text, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char c = (unsigned char)text[0];
	char escape[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

	if (len == 0)
		return add(out, "\\ufffd", 6);
	if (c == '"' || c == '\\')
		return add(out, (char[]){'\\', (char)c}, 2);
	if (c < 0x20 || c == 0x7f)
		return add(out, escape, sizeof(escape));
	return add(out, text, len);
}

/* What of the text fits, without the quotes. False: not all of it. */
static bool add_text(struct json_out *out, struct span text)
{
	for (size_t i = 0; i < text.len;) {
		size_t len = character_length((const unsigned char *)text.bytes + i, text.len - i);

		if (!add_character(out, text.bytes + i, len))
			return false;
		i += MAX(len, 1);
	}
	return true;
}

/* False: there is no room for the whole member, and nothing was added. */
static bool add_member(struct json_out *out, const struct log_field *field)
{
	size_t before = out->len;
	char value[LOG_LINE_SIZE];
	size_t len = log_fields_value(value, sizeof(value), field);

	if (add(out, ",\"", 2) && add(out, field->key.bytes, field->key.len) && add(out, "\":\"", 3) &&
	    add_text(out, (struct span){value, len}) && add(out, "\"", 1))
		return true;
	out->len = before;
	return false;
}

size_t log_fields_json(char *out, size_t size, struct span text)
{
	/* There is always room for what ends it. */
	struct json_out json = {out, size - sizeof(cut_member) - 1, 0};
	size_t start = log_fields_start(text), words = start;
	struct span pairs = {text.bytes + start, text.len - start};
	struct log_field field;
	bool whole;

	assert(size >= 64);
	while (words > 0 && text.bytes[words - 1] == ' ')
		words--;
	add(&json, "\"msg\":\"", 7);
	whole = add_text(&json, (struct span){text.bytes, words});
	json.size += 1;
	add(&json, "\"", 1);
	while (whole && log_fields_next(&pairs, &field))
		whole = add_member(&json, &field);
	json.size = size;
	if (!whole)
		add(&json, cut_member, sizeof(cut_member) - 1);
	return json.len;
}
