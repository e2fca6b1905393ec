#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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

/* Of memory that ends where the bytes end. */
static bool is_valid(const char *bytes, size_t len)
{
	char *exact = malloc(len);
	bool valid;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	valid = utf8_valid(exact, len);
	free(exact);
	return valid;
}

static void a_sequence_that_is_cut_is_wrong_whatever_comes_behind_it(void **state)
{
	static const char *const whole[] = {"a\xc2\x80", "a\xe2\x82\xac", "a\xf0\x90\x80\x80"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
		size_t len = strlen(whole[i]);

		assert_true(is_valid(whole[i], len));
		for (size_t cut = 2; cut < len; cut++) {
			assert_false(utf8_valid(whole[i], cut));
			assert_false(is_valid(whole[i], cut));
			assert_false(is_valid(whole[i] + cut - 1, 1)); /* its first byte, or one that continues it */
		}
	}
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
		cmocka_unit_test(a_sequence_that_is_cut_is_wrong_whatever_comes_behind_it),
		cmocka_unit_test(counts_code_points),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
