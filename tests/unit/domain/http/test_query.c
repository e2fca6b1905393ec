#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "domain/http/query.h"

/* The value, or NULL when the parameter is not there; from memory that ends where the query ends. */
static char *value_of(const char *query, size_t len, const char *name)
{
	char *exact = malloc(len + (len == 0));
	struct buf out = BUF_EMPTY;
	char *value = NULL;

	assert_non_null(exact);
	memcpy(exact, query, len);
	if (query_get((struct span){exact, len}, name, &out))
		value = strdup(out.bytes ? out.bytes : "");
	assert_true(buf_ok(&out));
	buf_free(&out);
	free(exact);
	return value;
}

static void assert_value(const char *query, const char *name, const char *expected)
{
	char *value = value_of(query, strlen(query), name);

	if (!expected)
		assert_null(value);
	else
		assert_string_equal(value, expected);
	free(value);
}

static void finds_a_parameter_at_any_place(void **state)
{
	(void)state;
	assert_value("a=1&bc=2&d=3", "a", "1");
	assert_value("a=1&bc=2&d=3", "bc", "2");
	assert_value("a=1&bc=2&d=3", "d", "3");
	assert_value("&&a=1&&", "a", "1");
	assert_value("a=b=c", "a", "b=c");
}

static void finds_only_the_whole_name(void **state)
{
	(void)state;
	assert_value("", "a", NULL);
	assert_value("&", "a", NULL);
	assert_value("ab=1", "a", NULL);
	assert_value("ba=1", "a", NULL);
	assert_value("a", "ab", NULL);
	assert_value("A=1", "a", NULL);
	assert_value("b=a=1", "a", NULL);
}

/* `?token` was no token at all: its bearer was anonymous. */
static void a_parameter_without_a_value_is_there_and_empty(void **state)
{
	(void)state;
	assert_value("a=", "a", "");
	assert_value("a=&b=1", "a", "");
	assert_value("a", "a", "");
	assert_value("b=1&a", "a", "");
	assert_value("a&b=1", "a", "");
}

static void takes_the_first_of_several(void **state)
{
	(void)state;
	assert_value("a=1&a=2", "a", "1");
	assert_value("a=&a=2", "a", "");
	assert_value("a=%&a=2", "a", "");
}

static void decodes_escapes_and_plus(void **state)
{
	(void)state;
	assert_value("a=%41%6a%6A", "a", "Ajj");
	assert_value("a=1+2%2B3", "a", "1 2+3");
	assert_value("a=%25%34%31", "a", "%41");
	assert_value("a=%26b%3D1", "a", "&b=1");
	assert_value("a=%C3%A9", "a", "\xc3\xa9");
	assert_value("a=%ff", "a", "\xff");
	assert_value("a=%20%0a", "a", " \n");
}

static void what_is_malformed_is_there_and_empty(void **state)
{
	static const char *const wrong[] = {"a=%",   "a=x%",   "a=x%4",	    "a=%4&b=1", "a=%zz",
					    "a=%4g", "a=% 41", "a=x%u0041", "a=%-1",	"a=%%41"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_value(wrong[i], "a", "");
}

static void nothing_of_what_is_malformed_is_added(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	buf_add_text(&out, "before");
	assert_false(query_decode((struct span){"after%zz", 8}, false, &out));
	assert_int_equal(out.len, strlen("before"));
	assert_string_equal(out.bytes, "before");
	buf_free(&out);
}

static void a_nul_is_never_in_a_value(void **state)
{
	char *value = value_of("a=x\0y", 5, "a");

	(void)state;
	assert_string_equal(value, "");
	free(value);
	assert_value("a=x%00y", "a", "");
	assert_value("a=%00", "a", "");
}

/* `?topics=a&topics=b` was one topic, without a word. */
static void reports_what_would_be_passed_over(void **state)
{
	static const struct query_name names[] = {{"a", true}, {"b", false}, {"c", true}};
	static const char query[] = "c=1&a=1&bb=1&b&x=1&x=2&a";
	struct problem problem = PROBLEM_NONE;

	(void)state;
	query_check((struct span){query, sizeof(query) - 1}, names, 3, &problem);
	assert_int_equal(problem.errors_count, 2);
	assert_string_equal(problem.errors.bytes, "{\"field\":\"a\",\"message\":\"must be given once\"},"
						  "{\"field\":\"b\",\"message\":\"is not for this path\"}");
	problem_free(&problem);
	query_check((struct span){"", 0}, names, 3, &problem);
	assert_int_equal(problem.errors_count, 0);
}

static void becomes_an_object_in_which_integers_are_numbers(void **state)
{
	static const struct {
		const char *query, *json;
	} cases[] = {
		{"", "{}"},
		{"&&", "{}"},
		{"limit=10&before=9223372036854775807", "{\"limit\":10,\"before\":9223372036854775807}"},
		{"a=0&b=01&c=-1&d=1.5&e=10000000000000000000",
		 "{\"a\":0,\"b\":\"01\",\"c\":\"-1\",\"d\":\"1.5\",\"e\":\"10000000000000000000\"}"},
		{"status=pro%22posed&x", "{\"status\":\"pro\\\"posed\",\"x\":\"\"}"},
		{"token=secret&a=1&token=2", "{\"a\":1}"},
		{"a=1&a=2", "{\"a\":1,\"a\":2}"},
		{"a=%zz&b=1%00", "{\"a\":\"\",\"b\":\"\"}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct buf out = BUF_EMPTY;

		query_add_json((struct span){cases[i].query, strlen(cases[i].query)}, &out);
		assert_string_equal(out.bytes, cases[i].json);
		buf_free(&out);
	}
}

/* It was told as an empty parameter. */
static void that_there_was_no_memory_can_be_seen(void **state)
{
	struct buf out = {.failed = true};

	(void)state;
	assert_true(query_get((struct span){"a=1", 3}, "a", &out));
	assert_false(buf_ok(&out));
}

static void a_path_keeps_its_plus(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	assert_true(query_decode((struct span){"a+b%2Fc", 7}, false, &out));
	assert_string_equal(out.bytes, "a+b/c");
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_a_parameter_at_any_place),
		cmocka_unit_test(finds_only_the_whole_name),
		cmocka_unit_test(a_parameter_without_a_value_is_there_and_empty),
		cmocka_unit_test(takes_the_first_of_several),
		cmocka_unit_test(decodes_escapes_and_plus),
		cmocka_unit_test(what_is_malformed_is_there_and_empty),
		cmocka_unit_test(nothing_of_what_is_malformed_is_added),
		cmocka_unit_test(a_nul_is_never_in_a_value),
		cmocka_unit_test(reports_what_would_be_passed_over),
		cmocka_unit_test(becomes_an_object_in_which_integers_are_numbers),
		cmocka_unit_test(that_there_was_no_memory_can_be_seen),
		cmocka_unit_test(a_path_keeps_its_plus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
