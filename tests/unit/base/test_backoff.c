#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/backoff.h"

static void doubles_up_to_the_longest(void **state)
{
	struct backoff b = {.first_ms = 100, .max_ms = 1000};

	(void)state;
	assert_int_equal(backoff_wait_ms(&b, 99), 100);
	assert_int_equal(backoff_wait_ms(&b, 199), 200);
	assert_int_equal(backoff_wait_ms(&b, 399), 400);
	assert_int_equal(backoff_wait_ms(&b, 799), 800);
	for (int i = 0; i < 100; i++)
		assert_int_equal(backoff_wait_ms(&b, 999), 1000);
}

static void waits_at_least_a_millisecond_and_never_over_the_longest(void **state)
{
	struct backoff b = {.first_ms = 1, .max_ms = INT64_MAX};

	(void)state;
	for (int i = 0; i < 200; i++) {
		int64_t low = backoff_wait_ms(&b, 0);
		int64_t high = backoff_wait_ms(&b, UINT64_MAX);

		assert_int_equal(low, 1);
		assert_true(high >= 1);
	}
}

static void starts_again_after_a_success(void **state)
{
	struct backoff b = {.first_ms = 100, .max_ms = 1000};

	(void)state;
	for (int i = 0; i < 10; i++)
		(void)backoff_wait_ms(&b, 0);
	backoff_reset(&b);
	assert_int_equal(backoff_wait_ms(&b, 99), 100);
}

static void the_system_gives_different_numbers(void **state)
{
	(void)state;
	assert_true(backoff_random() != backoff_random());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(doubles_up_to_the_longest),
		cmocka_unit_test(waits_at_least_a_millisecond_and_never_over_the_longest),
		cmocka_unit_test(starts_again_after_a_success),
		cmocka_unit_test(the_system_gives_different_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
