#include "domain/fields.h"

#include <string.h>

#include "domain/rfc3339.h"
#include "domain/topic.h"
#include "domain/user.h"
#include "domain/utf8.h"
#include "domain/uuid.h"

#define DIGITS_MAX 18 /* any such number fits bigint */

static bool is_text(const struct field *f)
{
	return json_object_is_type(f->value, json_type_string);
}

static size_t text_len(const struct field *f)
{
	return (size_t)json_object_get_string_len(f->value);
}

/* An integer as it was written, -0 and 1.0 excluded, within the bounds. */
static bool is_integer(const struct field *f, int64_t min, int64_t max)
{
	return json_object_is_type(f->value, json_type_int) && f->text.len <= DIGITS_MAX && f->text.bytes[0] != '-' &&
	       json_object_get_int64(f->value) >= min && json_object_get_int64(f->value) <= max;
}

static bool is_ratio(const struct field *f)
{
	double d = json_object_get_double(f->value);

	return (json_object_is_type(f->value, json_type_double) || json_object_is_type(f->value, json_type_int)) &&
	       d >= 0 && d <= 1;
}

static bool is_priority(const struct field *f)
{
	static const char *const words[] = {"low", "normal", "high", "critical"};

	for (size_t i = 0; is_text(f) && i < ARRAY_LEN(words); i++)
		if (strcmp(field_text(f), words[i]) == 0)
			return true;
	return false;
}

static bool is_user(const struct field *f)
{
	if (json_object_is_type(f->value, json_type_int))
		return f->text.len <= DIGITS_MAX;
	return is_text(f) && user_id_valid(field_text(f), text_len(f));
}

static bool is_time(const struct field *f)
{
	int64_t wall_us = 0;

	return is_text(f) && rfc3339_parse(field_text(f), text_len(f), &wall_us);
}

static bool is_text_of(const struct field *f, size_t chars_min, size_t chars_max)
{
	size_t chars = 0;

	if (!is_text(f))
		return false;
	chars = utf8_length(field_text(f), text_len(f));
	return chars >= chars_min && chars <= chars_max;
}

static bool is_uuid(const struct field *f)
{
	struct uuid u;

	return is_text(f) && uuid_parse(&u, field_text(f), text_len(f));
}

/* What it must be; NULL: it is right. Lent: static. */
static const char *value_problem(const struct field_rule *rule, const struct field *f)
{
	switch (rule->kind) {
	case FIELD_ANY:
		return NULL;
	case FIELD_BOOL:
		return json_object_is_type(f->value, json_type_boolean) ? NULL : "must be true or false";
	case FIELD_COUNT:
		return is_integer(f, 0, INT64_MAX) ? NULL : "must be an integer, 0 or more";
	case FIELD_ID:
		return is_integer(f, 1, INT64_MAX) ? NULL : "must be a positive integer";
	case FIELD_NAME:
		return is_text_of(f, 1, 128) ? NULL : "must be text of 1 to 128 characters";
	case FIELD_OBJECT:
		return json_object_is_type(f->value, json_type_object) ? NULL : "must be an object";
	case FIELD_PRIORITY:
		return is_priority(f) ? NULL : "must be low, normal, high or critical";
	case FIELD_RATING:
		return is_integer(f, 1, 5) ? NULL : "must be an integer from 1 to 5";
	case FIELD_RATIO:
		return is_ratio(f) ? NULL : "must be a number from 0 to 1";
	case FIELD_TEXT:
		return is_text_of(f, 0, 4000) ? NULL : "must be text of at most 4,000 characters";
	case FIELD_TIME:
		return is_time(f) ? NULL : "must be a date and time with its offset, such as 2026-11-21T10:00:00Z";
	case FIELD_TOPIC:
		return is_text(f) && topic_name_valid(field_text(f), text_len(f))
			       ? NULL
			       : "must be 1 to 128 characters out of A-Z a-z 0-9 _ . : / -";
	case FIELD_USER:
		return is_user(f) ? NULL : "must be a user id: text of 1 to 128 bytes, or an integer";
	case FIELD_UUID:
		return is_uuid(f) ? NULL : "must be a UUID";
	}
	return "is unknown";
}

static size_t find_rule(const struct field_rule *rules, size_t count, const char *name)
{
	size_t i = 0;

	while (i < count && strcmp(rules[i].name, name) != 0)
		i++;
	return i;
}

bool fields_read(const struct field_rule *rules, size_t count, struct json_object *object, struct span text,
		 const char *prefix, struct field *fields, struct problem *problem)
{
	struct span rest = text;
	bool right = true;

	memset(fields, 0, count * sizeof(*fields));
	json_object_object_foreach(object, key, member)
	{
		size_t i = find_rule(rules, count, key);
		struct field f = {.value = member};

		/* The text and the tree hold the members in the same order. */
		if (!json_next(&rest, &f.text))
			break;
		if (i < count && (member || rules[i].kind == FIELD_ANY))
			fields[i] = f;
	}
	for (size_t i = 0; i < count; i++) {
		const char *wrong = NULL;

		if (field_given(&fields[i]))
			wrong = value_problem(&rules[i], &fields[i]);
		else if (rules[i].required)
			wrong = "is required";
		if (!wrong)
			continue;
		problem_add_field(problem, prefix, rules[i].name, wrong);
		right = false;
	}
	return right;
}

const char *field_text(const struct field *f)
{
	return json_object_get_string(f->value);
}

int64_t field_integer(const struct field *f)
{
	return json_object_get_int64(f->value);
}
