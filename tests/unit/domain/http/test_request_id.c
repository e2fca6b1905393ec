#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/http/request_id.h"

static const uint8_t random_bytes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#define OWN "00010203-0405-4607-8809-0a0b0c0d0e0f"
#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"

static struct span span_of(const char *text)
{
	return (struct span){text, text ? strlen(text) : 0};
}

static const char *chosen(const char *given, const char *trace)
{
	static char id[REQUEST_ID_MAX + 1];

	request_id_choose(id, span_of(given), trace, random_bytes);
	return id;
}

static void what_a_request_brings_is_its_id_where_it_may_be_one(void **state)
{
	char longest[REQUEST_ID_MAX + 2];

	(void)state;
	assert_string_equal(chosen("7f3c-a.b_c:d/e@f+g=", ""), "7f3c-a.b_c:d/e@f+g=");
	assert_string_equal(chosen("x", TRACE), "x");
	assert_string_equal(chosen(NULL, TRACE), TRACE);
	assert_string_equal(chosen(NULL, ""), OWN);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_string_equal(chosen(longest, ""), OWN);
	longest[REQUEST_ID_MAX] = '\0';
	assert_string_equal(chosen(longest, ""), longest);
}

static void what_could_break_a_line_or_hold_a_token_is_no_id(void **state)
{
	static const char *const bad[] = {
		"",
		"a b",
		"a\nb",
		"a\r\nSet-Cookie: x",
		"\"",
		"a\\b",
		"<x>",
		"a,b",
		"\xc3\xa9",
		"a\x7f",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0NTYifQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_string_equal(chosen(bad[i], ""), OWN);
		assert_string_equal(chosen(bad[i], TRACE), TRACE);
	}
	assert_false(request_id_valid((struct span){"a\0b", 3}));
}

static struct header_list lines(const char *first, const char *second)
{
	struct header_list list = {0};

	if (first)
		header_list_add(&list, span_of(first));
	if (second)
		header_list_add(&list, span_of(second));
	return list;
}

static void who_brings_none_or_several_brings_no_id(void **state)
{
	static const char traceparent[] = "00-" TRACE "-00f067aa0ba902b7-01";
	const struct header_list none = {0}, one = lines("a-1", NULL), two = lines("a-1", "b-2"),
				 bad = lines("a b", NULL);
	const struct header_list traced = lines(traceparent, NULL), twice = lines(traceparent, traceparent);
	char id[REQUEST_ID_MAX + 1];

	(void)state;
	assert_true(request_id_given(id, &one, &traced));
	assert_string_equal(id, "a-1");
	assert_true(request_id_given(id, &two, &traced));
	assert_string_equal(id, TRACE);
	assert_true(request_id_given(id, &bad, &traced));
	assert_false(request_id_given(id, &none, &none));
	assert_false(request_id_given(id, &two, &twice));
	assert_false(request_id_given(id, &bad, &none));
}

static void a_traceparent_names_its_trace(void **state)
{
	static const char *const good[] = {"00-" TRACE "-00f067aa0ba902b7-01", "00-" TRACE "-00f067aa0ba902b7-ff",
					   "01-" TRACE "-00f067aa0ba902b7-01", "cc-" TRACE "-00f067aa0ba902b7-01-more"};
	static const char *const bad[] = {"",
					  "00-" TRACE "-00f067aa0ba902b7-0",
					  "00-" TRACE "-00f067aa0ba902b7-01-more",
					  "01-" TRACE "-00f067aa0ba902b7-01more",
					  "ff-" TRACE "-00f067aa0ba902b7-01",
					  "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
					  "00-" TRACE "-0000000000000000-01",
					  "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
					  "0x-" TRACE "-00f067aa0ba902b7-01",
					  "00_" TRACE "-00f067aa0ba902b7-01",
					  "00-" TRACE "_00f067aa0ba902b7-01",
					  "00-" TRACE "-00f067aa0ba902b7_01",
					  "00-" TRACE "-00f067aa0ba902g7-01",
					  "00-" TRACE "-00f067aa0ba902b7-0g"};
	char trace[TRACE_ID_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_true(request_id_trace(trace, span_of(good[i])));
		assert_string_equal(trace, TRACE);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(request_id_trace(trace, span_of(bad[i])));
		assert_string_equal(trace, "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_request_brings_is_its_id_where_it_may_be_one),
		cmocka_unit_test(what_could_break_a_line_or_hold_a_token_is_no_id),
		cmocka_unit_test(who_brings_none_or_several_brings_no_id),
		cmocka_unit_test(a_traceparent_names_its_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
