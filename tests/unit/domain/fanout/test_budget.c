#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "domain/fanout/budget.h"

#define MAX_BYTES 1000
#define START INT64_C(123456789)

static struct budget budget;
static struct holding a, b, c;

static int start(void **state)
{
	(void)state;
	budget_init(&budget, MAX_BYTES);
	a = b = c = (struct holding){0};
	return 0;
}

static void a_holding_counts_with_the_bytes_that_it_has_now(void **state)
{
	(void)state;
	budget_hold(&budget, &c, 0, START);
	assert_null(budget_largest(&budget));
	budget_hold(&budget, &a, 700, START);
	budget_hold(&budget, &b, 300, START);
	assert_false(budget_is_over(&budget));
	budget_hold(&budget, &b, 301, START);
	assert_true(budget_is_over(&budget));
	budget_hold(&budget, &a, 0, START);
	assert_false(budget_is_over(&budget));
	assert_ptr_equal(budget_largest(&budget), &b);
	budget_hold(&budget, &b, 0, START);
	assert_null(budget_largest(&budget));
	assert_int_equal(budget.bytes, 0);
}

static void what_can_wait_leaves_a_quarter_to_what_cannot(void **state)
{
	(void)state;
	budget_hold(&budget, &a, 250, START);
	assert_true(budget_has_room(&budget, 500));
	assert_false(budget_has_room(&budget, 501));
	budget_reserve(&budget, 500);
	assert_false(budget_has_room(&budget, 1));
	assert_true(budget_fits(&budget, 250));
	assert_false(budget_fits(&budget, 251));
	budget_hold(&budget, &b, 250, START);
	assert_false(budget_is_over(&budget));
	budget_release(&budget, 500);
	assert_true(budget_has_room(&budget, 250));
	assert_false(budget_has_room(&budget, SIZE_MAX));
}

static void the_largest_that_takes_nothing_goes_and_not_a_larger_one_that_takes_its_bytes(void **state)
{
	(void)state;
	budget_hold(&budget, &a, 300, START);
	budget_hold(&budget, &b, 200, START);
	budget_hold(&budget, &c, 100, START);
	assert_null(budget_largest_idle(&budget, START + BUDGET_IDLE_MS - 1));
	budget_taken(&budget, &a, START + 1);
	assert_ptr_equal(budget_largest_idle(&budget, START + BUDGET_IDLE_MS), &b);
	assert_ptr_equal(budget_largest(&budget), &a);
	assert_ptr_equal(budget_largest_idle(&budget, START + 1 + BUDGET_IDLE_MS), &a);
	budget_hold(&budget, &b, 300, START);
	assert_ptr_equal(budget_largest(&budget), &b); /* of the same size, and idle for longer */
}

static void one_that_grows_or_shrinks_is_idle_all_the_same(void **state)
{
	(void)state;
	budget_hold(&budget, &a, 300, START);
	budget_hold(&budget, &a, 400, START + BUDGET_IDLE_MS - 1);
	budget_hold(&budget, &a, 100, START + BUDGET_IDLE_MS - 1);
	assert_ptr_equal(budget_largest_idle(&budget, START + BUDGET_IDLE_MS), &a);
}

static void one_that_ends_and_begins_anew_is_not_idle(void **state)
{
	(void)state;
	budget_hold(&budget, &a, 300, START);
	budget_hold(&budget, &a, 0, START + 1);
	budget_taken(&budget, &a, START + 1);
	budget_hold(&budget, &a, 300, START + BUDGET_IDLE_MS);
	assert_null(budget_largest_idle(&budget, START + BUDGET_IDLE_MS));
}

static void of_very_many_those_that_are_idle_for_longest_are_compared(void **state)
{
	static struct holding many[BUDGET_LOOK_MAX + 1];

	(void)state;
	for (unsigned i = 0; i <= BUDGET_LOOK_MAX; i++)
		budget_hold(&budget, &many[i], i + 1, START + i);
	assert_ptr_equal(budget_largest_idle(&budget, START + BUDGET_IDLE_MS), &many[0]);
	assert_ptr_equal(budget_largest(&budget), &many[BUDGET_LOOK_MAX - 1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_holding_counts_with_the_bytes_that_it_has_now, start),
		cmocka_unit_test_setup(what_can_wait_leaves_a_quarter_to_what_cannot, start),
		cmocka_unit_test_setup(the_largest_that_takes_nothing_goes_and_not_a_larger_one_that_takes_its_bytes,
				       start),
		cmocka_unit_test_setup(one_that_grows_or_shrinks_is_idle_all_the_same, start),
		cmocka_unit_test_setup(one_that_ends_and_begins_anew_is_not_idle, start),
		cmocka_unit_test_setup(of_very_many_those_that_are_idle_for_longest_are_compared, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
