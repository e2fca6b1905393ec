#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/defs.h"
#include "domain/text/utf8.h"

static void takes_every_length_of_sequence(void **state)
{
	static const char *const right[] = {
		"",
		"abc",
		"\x7f",
		"\xc2\x80",
		"\xdf\xbf",
		"\xe0\xa0\x80",
		"\xed\x9f\xbf",
		"\xee\x80\x80",
		"\xef\xbf\xbf",
		"\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(right); i++)
		if (!utf8_valid(right[i], strlen(right[i])))
			fail_msg("number %zu is refused", i);
	assert_true(utf8_valid("a\0b", 3));
}

static void refuses_overlong_cut_and_impossible_ones(void **state)
{
	static const char *const wrong[] = {
		"\x80",
		"\xbf",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc2",
		"\xc2"
		"a",
		"\xe0\x9f\xbf",
		"\xe2\x82",
		"\xe2\x82"
		"a",
		"\xe2\x82\x7f",
		"\xe2\x82\xc0",
		"\xf0\x90\x80\x7f",
		"\xed\xa0\x80",
		"\xed\xbf\xbf",
		"\xf0\x8f\xbf\xbf",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xfe",
		"\xff",
		"\xf0\x90\x80",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (utf8_valid(wrong[i], strlen(wrong[i])))
			fail_msg("number %zu is taken", i);
}

static void counts_code_points(void **state)
{
	(void)state;
	assert_int_equal(utf8_length("", 0), 0);
	assert_int_equal(utf8_length("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_every_length_of_sequence),
		cmocka_unit_test(refuses_overlong_cut_and_impossible_ones),
		cmocka_unit_test(counts_code_points),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
