#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/text/decimal.h"

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

static int compare(const char *a, const char *b)
{
	return sign(decimal_compare((struct span){a, strlen(a)}, (struct span){b, strlen(b)}));
}

static void what_is_the_same_number_is_equal_however_it_is_written(void **state)
{
	static const char *const same[][2] = {
		{"1", "1.0"},
		{"100", "1e2"},
		{"100", "1.00E+2"},
		{"0.001", "1e-3"},
		{"0.00120", "12e-4"},
		{"1.5", "0.15e1"},
		{"0", "-0"},
		{"0.000", "0e99"},
		{"10000000000000000000000", "1e22"},
		{"123456789012345678901", "123456789012345678901.000"},
		{"1e000000000000000000000000002", "100"},
		{"-2.50", "-25e-1"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++)
		if (compare(same[i][0], same[i][1]) != 0 || compare(same[i][1], same[i][0]) != 0)
			fail_msg("%s is not %s", same[i][0], same[i][1]);
}

static void the_smaller_comes_first(void **state)
{
	static const char *const rising[] = {
		"-1e500",
		"-1e400",
		"-10",
		"-1.00000000000000000000001",
		"-1",
		"-0.5",
		"-1e-400",
		"0",
		"1e-500",
		"1e-400",
		"0.09",
		"0.1",
		"0.9",
		"0.99",
		"1",
		"1.00000000000000000000001",
		"9.99",
		"10",
		"123456789012345678901",
		"123456789012345678902",
		"1e400",
		"1e500",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rising); i++)
		for (size_t j = 0; j < ARRAY_LEN(rising); j++)
			if (compare(rising[i], rising[j]) != sign((int)i - (int)j))
				fail_msg("%s and %s", rising[i], rising[j]);
}

static void exponents_of_any_length_are_read(void **state)
{
	(void)state;
	assert_int_equal(compare("1e99999999999999999999999999", "1e400"), 1);
	assert_int_equal(compare("1e-99999999999999999999999999", "1e-400"), -1);
	assert_int_equal(compare("0e99999999999999999999999999", "0"), 0);
}

static void nothing_behind_a_number_belongs_to_it(void **state)
{
	static const char *const texts[] = {"155", "1.55", "1e55", "1e-55", "-1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		char cut[8] = "";
		size_t len = strlen(texts[i]) - 1;

		memcpy(cut, texts[i], len);
		assert_int_equal(decimal_compare((struct span){texts[i], len}, (struct span){cut, strlen(cut)}), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_the_same_number_is_equal_however_it_is_written),
		cmocka_unit_test(the_smaller_comes_first),
		cmocka_unit_test(exponents_of_any_length_are_read),
		cmocka_unit_test(nothing_behind_a_number_belongs_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
