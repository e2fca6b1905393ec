#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/fields.h"

enum { NUMBER, ANYTHING, NAME, RULES_COUNT };

static const struct field_rule rules[RULES_COUNT] = {
	[NUMBER] = {"number", FIELD_ID, true},
	[ANYTHING] = {"anything", FIELD_ANY, true},
	[NAME] = {"name", FIELD_NAME, false},
};

struct reading {
	struct json_object *root;
	struct field fields[RULES_COUNT];
	struct problem problem;
	bool right;
};

static void read_text(struct reading *r, const char *text)
{
	const char *why = NULL;

	memset(r, 0, sizeof(*r));
	assert_int_equal(json_read(&r->root, text, strlen(text), &why), OK);
	r->right =
		fields_read(rules, RULES_COUNT, r->root, (struct span){text, strlen(text)}, "", r->fields, &r->problem);
}

static void release(struct reading *r)
{
	json_object_put(r->root);
	problem_free(&r->problem);
}

static void gives_each_value_and_how_it_was_written(void **state)
{
	struct reading r;

	(void)state;
	read_text(&r, "{ \"unknown\" : [1,{\"number\":7}] , \"name\":\"\\u0061\", \"anything\" : 1.50 ,\"number\":42}");
	assert_true(r.right);
	assert_int_equal(field_integer(&r.fields[NUMBER]), 42);
	assert_string_equal(field_text(&r.fields[NAME]), "a");
	assert_int_equal(r.fields[ANYTHING].text.len, 4);
	assert_memory_equal(r.fields[ANYTHING].text.bytes, "1.50", 4);
	release(&r);
}

static void null_is_a_value_only_where_anything_is(void **state)
{
	struct reading r;

	(void)state;
	read_text(&r, "{\"number\":1,\"anything\":null,\"name\":null}");
	assert_true(r.right);
	assert_true(field_given(&r.fields[ANYTHING]));
	assert_false(field_given(&r.fields[NAME]));
	release(&r);
	read_text(&r, "{\"number\":null,\"anything\":1}");
	assert_false(r.right);
	assert_non_null(strstr(r.problem.errors.bytes, "{\"field\":\"number\",\"message\":\"is required\"}"));
	release(&r);
}

static void finds_a_key_however_it_is_escaped(void **state)
{
	struct reading r;

	(void)state;
	read_text(&r, "{\"n\\u0075mber\":1,\"anything\":0}");
	assert_true(r.right);
	assert_int_equal(field_integer(&r.fields[NUMBER]), 1);
	release(&r);
}

static void refuses_integers_that_are_none(void **state)
{
	static const char *const wrong[] = {
		"{\"anything\":0,\"number\":0}",
		"{\"anything\":0,\"number\":-0}",
		"{\"anything\":0,\"number\":1.0}",
		"{\"anything\":0,\"number\":1e2}",
		"{\"anything\":0,\"number\":\"1\"}",
		"{\"anything\":0,\"number\":true}",
		"{\"anything\":0,\"number\":1000000000000000000}",
		"{\"anything\":0,\"number\":123456789012345678901234567890}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct reading r;

		read_text(&r, wrong[i]);
		if (r.right)
			fail_msg("%s is taken", wrong[i]);
		assert_int_equal(r.problem.errors_count, 1);
		release(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_each_value_and_how_it_was_written),
		cmocka_unit_test(null_is_a_value_only_where_anything_is),
		cmocka_unit_test(finds_a_key_however_it_is_escaped),
		cmocka_unit_test(refuses_integers_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
