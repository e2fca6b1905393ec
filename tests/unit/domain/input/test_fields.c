#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/input/fields.h"
#include "domain/text/json.h"

enum { NUMBER, ANYTHING, NAME, RULES_COUNT };

static const struct field_rule rules[RULES_COUNT] = {
	[NUMBER] = {"number", FIELD_ID, true},
	[ANYTHING] = {"anything", FIELD_ANY, true},
	[NAME] = {"name", FIELD_TEXT_128, false},
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

static void takes_the_largest_id_as_it_was_written(void **state)
{
	struct buf out = BUF_EMPTY;
	struct reading r;

	(void)state;
	read_text(&r, "{\"number\":9223372036854775807,\"anything\":1}");
	assert_true(r.right);
	assert_true(field_integer(&r.fields[NUMBER]) == INT64_MAX);
	field_add_json(&out, &rules[NUMBER], &r.fields[NUMBER]);
	assert_string_equal(out.bytes, "9223372036854775807");
	buf_free(&out);
	release(&r);
}

/* Whether one value is right for one kind. */
static bool takes(enum field_kind kind, const char *value)
{
	const struct field_rule rule = {"a", kind, true};
	struct json_object *root = NULL;
	struct problem problem = PROBLEM_NONE;
	struct buf text = BUF_EMPTY;
	const char *why = NULL;
	struct field f;
	bool right = false;

	buf_printf(&text, "{\"a\":%s}", value);
	assert_int_equal(json_read(&root, text.bytes, text.len, &why), OK);
	right = fields_read(&rule, 1, root, (struct span){text.bytes, text.len}, "", &f, &problem);
	json_object_put(root);
	problem_free(&problem);
	buf_free(&text);
	return right;
}

static void holds_bounds_to_the_last_digit(void **state)
{
	(void)state;
	assert_true(takes(FIELD_RATIO, "1"));
	assert_true(takes(FIELD_RATIO, "1.00000000000000000000000"));
	assert_true(takes(FIELD_RATIO, "10e-1"));
	assert_true(takes(FIELD_RATIO, "-0.0"));
	assert_true(takes(FIELD_RATIO, "1e-400"));
	assert_false(takes(FIELD_RATIO, "1.00000000000000000000001"));
	assert_false(takes(FIELD_RATIO, "-1e-400"));
	assert_true(takes(FIELD_NUMBER, "1e15"));
	assert_true(takes(FIELD_NUMBER, "-1000000000000000"));
	assert_false(takes(FIELD_NUMBER, "1000000000000000.0000000000001"));
	assert_false(takes(FIELD_NUMBER, "1.5e15"));
	assert_false(takes(FIELD_NUMBER, "null"));
	assert_true(takes(FIELD_BOUND, "null"));
	assert_false(takes(FIELD_BOUND, "\"1\""));
	assert_true(takes(FIELD_DEVICE, "\"Phone_2.a-b\""));
	assert_false(takes(FIELD_DEVICE, "\"\""));
	assert_false(takes(FIELD_DEVICE, "\"a b\""));
	assert_false(takes(FIELD_DEVICE, "7"));
	assert_true(takes(FIELD_COUNT, "0"));
	assert_true(takes(FIELD_COUNT, "9223372036854775807"));
	assert_false(takes(FIELD_COUNT, "9223372036854775808"));
	assert_false(takes(FIELD_COUNT, "-0"));
	assert_false(takes(FIELD_COUNT, "0.0"));
	assert_true(takes(FIELD_USER, "1285704473650888702"));
	assert_true(takes(FIELD_USER, "-9223372036854775808"));
	assert_false(takes(FIELD_USER, "9223372036854775808"));
	assert_true(takes(FIELD_TIME, "\"0001-01-01T00:00:00Z\""));
	assert_false(takes(FIELD_TIME, "\"0001-01-01T00:00:00+00:01\""));
	assert_true(takes(FIELD_QUIET_HOURS, "{\"start\":\"22:00\",\"end\":\"07:00\",\"time_zone\":\"Z\"}"));
}

static void takes_a_token_of_8192_bytes_and_no_more(void **state)
{
	struct buf token = BUF_EMPTY;

	(void)state;
	buf_add_text(&token, "\"");
	for (int i = 0; i < 8192; i++)
		buf_add_text(&token, "x");
	buf_add_text(&token, "\"");
	assert_true(takes(FIELD_TOKEN, token.bytes));
	token.len--;
	buf_add_text(&token, "x\"");
	assert_false(takes(FIELD_TOKEN, token.bytes));
	buf_free(&token);
}

static void keeps_the_types_of_the_protocol_for_the_server(void **state)
{
	(void)state;
	assert_true(takes(FIELD_TYPE, "\"note\""));
	assert_true(takes(FIELD_TYPE, "\"Connect\""));
	assert_true(takes(FIELD_TYPE, "\"effectiveness_update\""));
	assert_false(takes(FIELD_TYPE, "\"\""));
	assert_false(takes(FIELD_TYPE, "\"connect\""));
	assert_false(takes(FIELD_TYPE, "\"reconnect_messages\""));
	assert_false(takes(FIELD_TYPE, "\"err\\u006fr\""));
	assert_false(takes(FIELD_TYPE, "\"unsubscribed\""));
}

static void names_or_refuses_members_that_the_table_does_not_have(void **state)
{
	static const char *const also[] = {"type", NULL};
	struct buf names = BUF_EMPTY;
	size_t count = 0;
	struct reading r;

	(void)state;
	read_text(&r, "{\"nubmer\":1,\"number\":1,\"anything\":0,\"type\":1,\"\\\"\":2}");
	fields_refuse_others(rules, RULES_COUNT, also, r.root, "[3].", &r.problem);
	assert_int_equal(r.problem.errors_count, 2);
	assert_string_equal(r.problem.errors.bytes, "{\"field\":\"[3].nubmer\",\"message\":\"is not known here\"},"
						    "{\"field\":\"[3].\\\"\",\"message\":\"is not known here\"}");
	fields_name_others(rules, RULES_COUNT, r.root, "", &names, &count);
	fields_name_others(rules, RULES_COUNT, r.root, "[1].", &names, &count);
	assert_string_equal(names.bytes, "\"nubmer\",\"type\",\"\\\"\",\"[1].nubmer\",\"[1].type\",\"[1].\\\"\"");
	buf_free(&names);
	release(&r);
}

static void tells_no_more_than_twenty_members_and_the_beginning_of_long_ones(void **state)
{
	static const char *const also[] = {NULL};
	struct buf text = BUF_EMPTY, names = BUF_EMPTY;
	size_t count = 0;
	struct reading r;

	(void)state;
	buf_add_text(&text, "{\"number\":1,\"anything\":0,\"x");
	for (int i = 0; i < 100; i++)
		buf_add_text(&text, "\xc3\xa9");
	buf_add_text(&text, "\":0");
	for (int i = 0; i < 30; i++)
		buf_printf(&text, ",\"m%d\":0", i);
	buf_add_text(&text, "}");
	read_text(&r, text.bytes);
	fields_name_others(rules, RULES_COUNT, r.root, "", &names, &count);
	assert_int_equal(count, FIELD_OTHERS_MAX);
	assert_memory_equal(names.bytes + 60, "\xc3\xa9\xc3\xa9\",\"m0\"", 10);
	fields_refuse_others(rules, RULES_COUNT, also, r.root, "", &r.problem);
	assert_int_equal(r.problem.errors_count, FIELD_OTHERS_MAX);
	buf_free(&names);
	buf_free(&text);
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
		"{\"anything\":0,\"number\":9223372036854775808}",
		"{\"anything\":0,\"number\":18446744073709551615}",
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
		cmocka_unit_test(takes_the_largest_id_as_it_was_written),
		cmocka_unit_test(holds_bounds_to_the_last_digit),
		cmocka_unit_test(takes_a_token_of_8192_bytes_and_no_more),
		cmocka_unit_test(keeps_the_types_of_the_protocol_for_the_server),
		cmocka_unit_test(names_or_refuses_members_that_the_table_does_not_have),
		cmocka_unit_test(tells_no_more_than_twenty_members_and_the_beginning_of_long_ones),
		cmocka_unit_test(refuses_integers_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
