#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "domain/fanout/wheel.h"
#include "tests/unit/frames.h"

#define STEP WHEEL_STEP_MS
#define TURN ((int64_t)WHEEL_SLOTS * WHEEL_STEP_MS)
#define START INT64_C(123456789)

static struct wheel wheel;

static int start(void **state)
{
	(void)state;
	wheel_init(&wheel, START);
	return 0;
}

/* The millisecond at which it is given back, no later than `until`. */
static int64_t when_due(const struct wheel_entry *e, int64_t from, int64_t until)
{
	for (int64_t now = from; now <= until; now++) {
		const struct wheel_entry *due = wheel_expire(&wheel, now);

		if (due) {
			assert_ptr_equal(due, e);
			assert_null(wheel_expire(&wheel, now));
			return now;
		}
	}
	return -1;
}

static void is_never_early_and_late_by_less_than_a_step(void **state)
{
	struct wheel_entry e = {.due = 0};
	int64_t now = START;

	(void)state;
	for (int64_t after = STEP; after < 4 * STEP; after++) {
		int64_t due = now + after, then;

		wheel_set(&wheel, &e, due);
		then = when_due(&e, now, due + STEP);
		assert_true(then >= due);
		assert_true(then < due + STEP);
		now = then;
	}
}

static void gives_back_what_was_due_already_at_the_next_step(void **state)
{
	struct wheel_entry e = {.due = 0};
	int64_t then;

	(void)state;
	wheel_set(&wheel, &e, START - 5000);
	assert_null(wheel_expire(&wheel, START));
	then = when_due(&e, START, START + STEP);
	assert_true(then > START);
	wheel_set(&wheel, &e, 0);
	assert_null(wheel_expire(&wheel, then));
	assert_ptr_equal(wheel_expire(&wheel, then + STEP), &e);
}

static void an_entry_that_is_never_due_does_not_overflow(void **state)
{
	struct wheel_entry e = {.due = 0};

	/* What went wrong: it was rounded up by a sum, and so became due at once. */
	(void)state;
	wheel_set(&wheel, &e, INT64_MAX);
	assert_null(wheel_expire(&wheel, START + 3 * TURN));
	wheel_unset(&e);
}

static void an_entry_that_is_set_again_has_moved(void **state)
{
	struct wheel_entry e = {.due = 0};

	(void)state;
	wheel_set(&wheel, &e, START + 10 * STEP);
	wheel_set(&wheel, &e, START + 50 * STEP);
	assert_null(wheel_expire(&wheel, START + 49 * STEP));
	wheel_set(&wheel, &e, START + 100 * STEP);
	wheel_set(&wheel, &e, START + 60 * STEP);
	assert_ptr_equal(wheel_expire(&wheel, START + 61 * STEP), &e);
	assert_null(wheel_expire(&wheel, START + 200 * STEP));
}

static void an_entry_that_is_taken_out_is_gone_and_may_be_taken_out_again(void **state)
{
	struct wheel_entry e = {.due = 0}, never = {.due = 0};

	(void)state;
	wheel_unset(&never);
	wheel_set(&wheel, &e, START + STEP);
	wheel_unset(&e);
	wheel_unset(&e);
	assert_null(wheel_expire(&wheel, START + 10 * STEP));
	wheel_set(&wheel, &e, START + 20 * STEP);
	assert_ptr_equal(wheel_expire(&wheel, START + 21 * STEP), &e);
	wheel_unset(&e);
}

static void what_is_turns_away_stays_until_its_own(void **state)
{
	struct wheel_entry e[3] = {{.due = 0}};

	(void)state;
	for (int64_t i = 0; i < 3; i++)
		wheel_set(&wheel, &e[i], START + 1000 + i * TURN);
	for (int64_t i = 0; i < 3; i++) {
		int64_t due = START + 1000 + i * TURN, then = 0;

		for (int64_t now = due - TURN / 2; now < due; now += 7 * STEP)
			assert_null(wheel_expire(&wheel, now));
		then = when_due(&e[i], due, due + STEP);
		assert_true(then >= due);
	}
}

static void a_long_pause_leaves_nothing_behind(void **state)
{
	static struct wheel_entry e[2 * WHEEL_SLOTS];
	int64_t now = START + 5 * TURN + 3 * STEP;
	unsigned count = 0;

	(void)state;
	for (size_t i = 0; i < 2 * WHEEL_SLOTS; i++)
		wheel_set(&wheel, &e[i], START + (int64_t)i * STEP);
	while (wheel_expire(&wheel, now))
		count++;
	assert_int_equal(count, 2 * WHEEL_SLOTS);
	/* A pause of exactly one turn, and one step around it. */
	for (int64_t pause = TURN - STEP; pause <= TURN + STEP; pause += STEP) {
		for (size_t i = 0; i < 2 * WHEEL_SLOTS; i++)
			wheel_set(&wheel, &e[i], now + (int64_t)i * STEP);
		now += pause;
		for (count = 0; wheel_expire(&wheel, now);)
			count++;
		assert_in_range(count, (uintmax_t)(pause / STEP), (uintmax_t)(pause / STEP + 1));
		while (wheel_expire(&wheel, now + 2 * TURN))
			count++;
		assert_int_equal(count, 2 * WHEEL_SLOTS);
		now += 2 * TURN;
	}
}

static void setting_at_once_what_was_given_back_comes_to_an_end(void **state)
{
	struct wheel_entry e = {.due = 0}, *due;
	int64_t now = START;

	(void)state;
	wheel_set(&wheel, &e, now);
	for (unsigned round = 0; round < 10; round++) {
		unsigned count = 0;

		now += round % 2 ? 3 * TURN : 5 * STEP;
		while ((due = wheel_expire(&wheel, now))) {
			assert_true(++count == 1);
			wheel_set(&wheel, due, now - 3 * STEP);
		}
		assert_int_equal(count, 1);
	}
}

static void an_owner_may_take_out_others_while_it_expires(void **state)
{
	struct wheel_entry e[10] = {{.due = 0}}, *due;
	unsigned count = 0;

	(void)state;
	for (size_t i = 0; i < 10; i++)
		wheel_set(&wheel, &e[i], START + STEP);
	while ((due = wheel_expire(&wheel, START + 5 * STEP))) {
		count++;
		wheel_unset(&e[(size_t)(due - e) ^ 1]);
	}
	assert_int_equal(count, 5);
}

static void a_clock_that_stands_still_gives_back_nothing(void **state)
{
	struct wheel_entry e = {.due = 0};

	(void)state;
	wheel_set(&wheel, &e, START + STEP);
	for (unsigned i = 0; i < 100; i++)
		assert_null(wheel_expire(&wheel, START));
	assert_null(wheel_expire(&wheel, START - TURN));
	assert_ptr_equal(wheel_expire(&wheel, START + 2 * STEP), &e);
}

static void is_a_list_of_deadlines(void **state)
{
	enum { COUNT = 300 };
	static struct wheel_entry e[COUNT];
	static int64_t due_ms[COUNT], due_step[COUNT];
	int64_t now = START, target = START / STEP;
	uint64_t random = 4096;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		size_t i = pick(&random, COUNT);
		struct wheel_entry *due;

		if (pick(&random, 4) == 0) {
			wheel_unset(&e[i]);
			due_step[i] = 0;
		} else {
			due_ms[i] = now - 1000 + (int64_t)pick(&random, pick(&random, 3) ? 60000 : 3 * TURN);
			due_step[i] = MAX((due_ms[i] + STEP - 1) / STEP, target + 1);
			wheel_set(&wheel, &e[i], due_ms[i]);
		}
		if (pick(&random, 5))
			continue;
		now += (int64_t)pick(&random, pick(&random, 100) ? 1500 : 2 * TURN);
		target = now / STEP;
		while ((due = wheel_expire(&wheel, now))) {
			i = (size_t)(due - e);
			assert_true(due_step[i] > 0 && due_step[i] <= target);
			assert_true(due_ms[i] <= now);
			due_step[i] = 0;
		}
		for (i = 0; i < COUNT; i++)
			assert_true(due_step[i] == 0 || due_step[i] > target);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(is_never_early_and_late_by_less_than_a_step, start),
		cmocka_unit_test_setup(gives_back_what_was_due_already_at_the_next_step, start),
		cmocka_unit_test_setup(an_entry_that_is_never_due_does_not_overflow, start),
		cmocka_unit_test_setup(an_entry_that_is_set_again_has_moved, start),
		cmocka_unit_test_setup(an_entry_that_is_taken_out_is_gone_and_may_be_taken_out_again, start),
		cmocka_unit_test_setup(what_is_turns_away_stays_until_its_own, start),
		cmocka_unit_test_setup(a_long_pause_leaves_nothing_behind, start),
		cmocka_unit_test_setup(setting_at_once_what_was_given_back_comes_to_an_end, start),
		cmocka_unit_test_setup(an_owner_may_take_out_others_while_it_expires, start),
		cmocka_unit_test_setup(a_clock_that_stands_still_gives_back_nothing, start),
		cmocka_unit_test_setup(is_a_list_of_deadlines, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
