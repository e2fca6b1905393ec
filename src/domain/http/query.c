#include "domain/http/query.h"

#include <string.h>

#include "base/hex.h"
#include "domain/text/json.h"

bool query_decode(struct span text, bool plus_is_space, struct buf *out)
{
	size_t before = out->len, len = 0;
	char *to = buf_reserve(out, text.len); /* it does not get longer */

	if (!to)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.bytes[i];

		if (c == '+' && plus_is_space) {
			c = ' ';
		} else if (c == '%') {
			int high = i + 2 < text.len ? hex_value(text.bytes[i + 1]) : -1;
			int low = i + 2 < text.len ? hex_value(text.bytes[i + 2]) : -1;

			c = high < 0 || low < 0 ? '\0' : (char)(high << 4 | low);
			i += 2;
		}
		if (c == '\0') {
			buf_cut(out, before);
			return false;
		}
		to[len++] = c;
	}
	buf_cut(out, before + len);
	return true;
}

/* Takes the first parameter off `query`: what is before the `=`, and what is behind. */
static bool take_parameter(struct span *query, struct span *name, struct span *value)
{
	const char *amp, *equals;
	size_t len;

	if (query->len == 0)
		return false;
	amp = memchr(query->bytes, '&', query->len);
	len = amp ? (size_t)(amp - query->bytes) : query->len;
	equals = memchr(query->bytes, '=', len);
	*name = (struct span){query->bytes, equals ? (size_t)(equals - query->bytes) : len};
	/* Without `=` its value is empty. */
	*value = equals ? (struct span){equals + 1, len - name->len - 1} : (struct span){query->bytes + len, 0};
	query->bytes += amp ? len + 1 : len;
	query->len -= amp ? len + 1 : len;
	return true;
}

/* As JSON has an integer, of no more digits than 2^63 has. */
static bool is_integer(const struct buf *text)
{
	size_t digits = text->len > 0 ? strspn(text->bytes, "0123456789") : 0;

	return digits > 0 && digits == text->len && digits <= 19 && (digits == 1 || text->bytes[0] != '0');
}

static void add_member(struct buf *out, const struct buf *name, const struct buf *value)
{
	if (out->bytes && out->bytes[out->len - 1] != '{')
		buf_add_text(out, ",");
	json_add_string(out, name->bytes ? name->bytes : "", name->len);
	buf_add_text(out, ":");
	if (is_integer(value))
		buf_add(out, value->bytes, value->len);
	else
		json_add_string(out, value->bytes ? value->bytes : "", value->len);
}

static bool is_name(struct span name, const char *wanted)
{
	return name.len == strlen(wanted) && memcmp(name.bytes, wanted, name.len) == 0;
}

bool query_get(struct span query, const char *name, struct buf *out)
{
	struct span found, value;

	while (take_parameter(&query, &found, &value)) {
		if (!is_name(found, name))
			continue;
		/* That there was no memory is for the caller to see. */
		if (!query_decode(value, true, out) && buf_ok(out))
			buf_clear(out);
		return true;
	}
	return false;
}

static size_t count_of(struct span query, const char *name)
{
	struct span found, value;
	size_t count = 0;

	while (take_parameter(&query, &found, &value))
		count += is_name(found, name);
	return count;
}

void query_check(struct span query, const struct query_name *names, size_t count, struct problem *problem)
{
	for (size_t i = 0; i < count; i++) {
		size_t given = count_of(query, names[i].name);

		if (given > 0 && !names[i].taken)
			problem_add_field(problem, "", names[i].name, "is not for this path");
		else if (given > 1)
			problem_add_field(problem, "", names[i].name, "must be given once");
	}
}

void query_add_json(struct span query, struct buf *out)
{
	struct span part, text;

	buf_add_text(out, "{");
	while (take_parameter(&query, &part, &text)) {
		struct buf name = BUF_EMPTY, value = BUF_EMPTY;

		(void)query_decode(part, true, &name);
		(void)query_decode(text, true, &value);
		if (!buf_ok(&name) || !buf_ok(&value))
			out->failed = true;
		else if (part.len > 0 && !is_name(part, "token"))
			add_member(out, &name, &value);
		buf_free(&name);
		buf_free(&value);
	}
	buf_add_text(out, "}");
}
