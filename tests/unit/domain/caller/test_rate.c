#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "domain/caller/rate.h"

#define START_US INT64_C(1000000000)

static void allows_a_burst_then_the_rate(void **state)
{
	struct rate_bucket b = {0};
	int64_t now_us = START_US;
	int64_t retry_ms = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_true(rate_take(&b, 50, 100, RATE_ONE, now_us, &retry_ms));
	assert_false(rate_take(&b, 50, 100, RATE_ONE, now_us, &retry_ms));
	assert_int_equal(retry_ms, 20);
	assert_false(rate_take(&b, 50, 100, RATE_ONE, now_us + 19999, &retry_ms));
	assert_int_equal(retry_ms, 1);
	now_us += 20000;
	assert_true(rate_take(&b, 50, 100, RATE_ONE, now_us, &retry_ms));
	assert_false(rate_take(&b, 50, 100, RATE_ONE, now_us, NULL));
}

static void a_refusal_takes_nothing(void **state)
{
	struct rate_bucket b = {0};

	(void)state;
	assert_true(rate_take(&b, 1, 1, RATE_ONE, START_US, NULL));
	for (int i = 0; i < 1000; i++)
		assert_false(rate_take(&b, 1, 1, RATE_ONE, START_US + i, NULL));
	assert_true(rate_take(&b, 1, 1, RATE_ONE, START_US + 1000000, NULL));
}

static void is_full_again_after_a_rest_but_no_fuller(void **state)
{
	struct rate_bucket b = {0};
	int64_t later_us = START_US + INT64_C(3600000000);

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_true(rate_take(&b, 10, 10, RATE_ONE, START_US, NULL));
	for (int i = 0; i < 10; i++)
		assert_true(rate_take(&b, 10, 10, RATE_ONE, later_us, NULL));
	assert_false(rate_take(&b, 10, 10, RATE_ONE, later_us, NULL));
}

static void zero_a_second_is_unlimited(void **state)
{
	struct rate_bucket b = {0};

	(void)state;
	for (int i = 0; i < 100000; i++)
		assert_true(rate_take(&b, 0, 1, RATE_ONE, START_US, NULL));
}

static void what_causes_more_work_costs_more(void **state)
{
	struct rate_bucket b = {0};
	int64_t retry_ms = 0;

	(void)state;
	assert_true(rate_take(&b, 10, 10, 8 * RATE_ONE, START_US, NULL));
	assert_false(rate_take(&b, 10, 10, 3 * RATE_ONE, START_US, &retry_ms));
	assert_int_equal(retry_ms, 100);
	assert_true(rate_take(&b, 10, 10, RATE_ONE + RATE_ONE / 2, START_US, NULL));
	assert_true(rate_take(&b, 10, 10, RATE_ONE / 2, START_US, NULL));
	assert_false(rate_take(&b, 10, 10, 1, START_US, NULL));
}

static void what_costs_more_than_a_burst_waits_for_a_full_bucket_and_leaves_a_debt(void **state)
{
	struct rate_bucket b = {0};

	(void)state;
	assert_true(rate_take(&b, 10, 2, RATE_ONE, START_US, NULL));
	assert_false(rate_take(&b, 10, 2, 5 * RATE_ONE, START_US, NULL));
	assert_true(rate_take(&b, 10, 2, 5 * RATE_ONE, START_US + 100000, NULL));
	assert_false(rate_take(&b, 10, 2, RATE_ONE, START_US + 499999, NULL));
	assert_true(rate_take(&b, 10, 2, RATE_ONE, START_US + 500000, NULL));
}

static void what_has_been_done_is_charged_though_nothing_is_left(void **state)
{
	struct rate_bucket b = {0};
	struct rate_table *t = NULL;

	(void)state;
	rate_charge(&b, 10, 5 * RATE_ONE, START_US);
	assert_false(rate_take(&b, 10, 2, RATE_ONE, START_US + 399999, NULL));
	assert_true(rate_take(&b, 10, 2, RATE_ONE, START_US + 400000, NULL));
	rate_charge(&b, 0, RATE_ONE, START_US);
	assert_int_equal(rate_table_new(&t, 10), OK);
	rate_table_charge(t, "456", 1, RATE_ONE, START_US);
	assert_false(rate_table_take(t, "456", 1, 1, RATE_ONE, START_US, NULL));
	assert_true(rate_table_take(t, "457", 1, 1, RATE_ONE, START_US, NULL));
	rate_table_free(&t);
}

static void callers_do_not_share_a_bucket(void **state)
{
	struct rate_table *t = NULL;

	(void)state;
	assert_int_equal(rate_table_new(&t, 10), OK);
	assert_true(rate_table_take(t, "456", 1, 1, RATE_ONE, START_US, NULL));
	assert_false(rate_table_take(t, "456", 1, 1, RATE_ONE, START_US, NULL));
	assert_true(rate_table_take(t, "4567", 1, 1, RATE_ONE, START_US, NULL));
	assert_true(rate_table_take(t, "", 1, 1, RATE_ONE, START_US, NULL));
	rate_table_free(&t);
	assert_null(t);
	rate_table_free(&t);
}

static void drops_a_full_bucket_rather_than_the_oldest(void **state)
{
	struct rate_table *t = NULL;

	(void)state;
	assert_int_equal(rate_table_new(&t, 2), OK);
	assert_true(rate_table_take(t, "slow", 1, 1, RATE_ONE, START_US, NULL));
	assert_true(rate_table_take(t, "fast", 1000, 1, RATE_ONE, START_US, NULL));
	assert_true(rate_table_take(t, "new", 1, 1, RATE_ONE, START_US + 2000, NULL));
	assert_false(rate_table_take(t, "slow", 1, 1, RATE_ONE, START_US + 2000, NULL));
	rate_table_free(&t);
}

/* Of two tables with a full bucket, one as the last that is looked at, one just behind it. */
static void looks_for_a_full_bucket_among_the_eight_that_were_not_used_for_longest(void **state)
{
	(void)state;
	for (int before = 7; before <= 8; before++) {
		struct rate_table *t = NULL;
		char name[16];

		assert_int_equal(rate_table_new(&t, (size_t)before + 1), OK);
		for (int i = 0; i < before; i++) {
			snprintf(name, sizeof(name), "%d", i);
			assert_true(rate_table_take(t, name, 1, 1, RATE_ONE, START_US, NULL));
		}
		assert_true(rate_table_take(t, "fast", 1000, 1, RATE_ONE, START_US, NULL));
		assert_true(rate_table_take(t, "new", 1, 1, RATE_ONE, START_US + 1000, NULL));
		assert_true(rate_table_take(t, "0", 1, 1, RATE_ONE, START_US + 1000, NULL) == (before == 8));
		rate_table_free(&t);
	}
}

static void drops_the_one_that_was_not_used_for_longest_when_none_is_full(void **state)
{
	struct rate_table *t = NULL;

	(void)state;
	assert_int_equal(rate_table_new(&t, 2), OK);
	assert_true(rate_table_take(t, "a", 1, 1, RATE_ONE, START_US, NULL));
	assert_true(rate_table_take(t, "b", 1, 1, RATE_ONE, START_US, NULL));
	assert_false(rate_table_take(t, "a", 1, 1, RATE_ONE, START_US, NULL));
	assert_true(rate_table_take(t, "c", 1, 1, RATE_ONE, START_US, NULL)); /* instead of b */
	assert_false(rate_table_take(t, "a", 1, 1, RATE_ONE, START_US, NULL));
	assert_true(rate_table_take(t, "b", 1, 1, RATE_ONE, START_US, NULL));
	rate_table_free(&t);
}

static void holds_no_more_callers_than_it_may(void **state)
{
	struct rate_table *t = NULL;
	char name[16];

	(void)state;
	assert_int_equal(rate_table_new(&t, 100), OK);
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_true(rate_table_take(t, name, 1, 1, RATE_ONE, START_US, NULL));
	}
	assert_false(rate_table_take(t, "19999", 1, 1, RATE_ONE, START_US, NULL));
	assert_true(rate_table_take(t, "5", 1, 1, RATE_ONE, START_US, NULL)); /* forgotten */
	rate_table_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allows_a_burst_then_the_rate),
		cmocka_unit_test(a_refusal_takes_nothing),
		cmocka_unit_test(is_full_again_after_a_rest_but_no_fuller),
		cmocka_unit_test(zero_a_second_is_unlimited),
		cmocka_unit_test(what_causes_more_work_costs_more),
		cmocka_unit_test(what_costs_more_than_a_burst_waits_for_a_full_bucket_and_leaves_a_debt),
		cmocka_unit_test(what_has_been_done_is_charged_though_nothing_is_left),
		cmocka_unit_test(callers_do_not_share_a_bucket),
		cmocka_unit_test(drops_a_full_bucket_rather_than_the_oldest),
		cmocka_unit_test(looks_for_a_full_bucket_among_the_eight_that_were_not_used_for_longest),
		cmocka_unit_test(drops_the_one_that_was_not_used_for_longest_when_none_is_full),
		cmocka_unit_test(holds_no_more_callers_than_it_may),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
