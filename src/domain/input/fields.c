#include "domain/input/fields.h"

#include <stdio.h>
#include <string.h>

#include "domain/text/json.h"

#define OTHER_NAME_MAX 64 /* bytes */

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
		if (i < count && (member || field_may_be_null(rules[i].kind)))
			fields[i] = f;
	}
	for (size_t i = 0; i < count; i++) {
		const char *wrong = NULL;

		if (field_given(&fields[i]))
			wrong = field_problem(rules[i].kind, &fields[i]);
		else if (rules[i].required)
			wrong = "is required";
		if (!wrong)
			continue;
		problem_add_field(problem, prefix, rules[i].name, wrong);
		right = false;
	}
	return right;
}

static bool is_among(const char *const *words, const char *text)
{
	while (*words && strcmp(*words, text) != 0)
		words++;
	return *words;
}

/* A name that is too long to be one is told by its beginning, a whole number of characters of it. */
static size_t name_len(const char *name)
{
	size_t len = strnlen(name, OTHER_NAME_MAX);

	while (len == OTHER_NAME_MAX && len > 0 && ((unsigned char)name[len] & 0xc0) == 0x80)
		len--;
	return len;
}

void fields_refuse_others(const struct field_rule *rules, size_t count, const char *const *also,
			  struct json_object *object, const char *prefix, struct problem *problem)
{
	size_t told = 0;

	json_object_object_foreach(object, key, member)
	{
		char name[OTHER_NAME_MAX + 1];

		(void)member;
		if (find_rule(rules, count, key) < count || is_among(also, key) || told++ >= FIELD_OTHERS_MAX)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)name_len(key), key);
		problem_add_field(problem, prefix, name, "is not known here");
	}
}

void fields_name_others(const struct field_rule *rules, size_t count, struct json_object *object, const char *prefix,
			struct buf *out, size_t *names_count)
{
	json_object_object_foreach(object, key, member)
	{
		struct buf name = BUF_EMPTY;

		(void)member;
		if (find_rule(rules, count, key) < count || *names_count >= FIELD_OTHERS_MAX)
			continue;
		buf_add_text(&name, prefix);
		buf_add(&name, key, name_len(key));
		if ((*names_count)++ > 0)
			buf_add_text(out, ",");
		if (buf_ok(&name))
			json_add_string(out, name.bytes ? name.bytes : "", name.len);
		else
			out->failed = true;
		buf_free(&name);
	}
}

bool fields_find(struct json_object *object, struct span text, const char *name, struct field *f)
{
	struct span rest = text;

	json_object_object_foreach(object, key, member)
	{
		if (!json_next(&rest, &f->text))
			break;
		f->value = member;
		if (strcmp(key, name) == 0)
			return true;
	}
	*f = (struct field){0};
	return false;
}
