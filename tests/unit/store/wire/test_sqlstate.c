#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/wire/sqlstate.h"

static void what_may_succeed_later_is_away_or_busy(void **state)
{
	(void)state;
	assert_int_equal(sqlstate_err(NULL), ERR_AWAY);
	assert_int_equal(sqlstate_err(""), ERR_AWAY);
	assert_int_equal(sqlstate_err("57P01"), ERR_AWAY);
	assert_int_equal(sqlstate_err("57014"), ERR_BUSY);
	assert_int_equal(sqlstate_err("40P01"), ERR_BUSY);
	assert_int_equal(sqlstate_err("26000"), ERR_AWAY);
	assert_int_equal(sqlstate_err("42P01"), ERR_DATABASE);
	assert_int_equal(sqlstate_err("23505"), ERR_DATABASE);
}

/* A broken connection and a pooler know nothing of the commit; the server itself does. */
static void only_libpq_and_poolers_do_not_know_the_outcome(void **state)
{
	(void)state;
	assert_true(sqlstate_hides_outcome(NULL));
	assert_true(sqlstate_hides_outcome(""));
	assert_true(sqlstate_hides_outcome("08P01"));
	assert_false(sqlstate_hides_outcome("57P01"));
	assert_false(sqlstate_hides_outcome("57014"));
	assert_false(sqlstate_hides_outcome("40001"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_may_succeed_later_is_away_or_busy),
		cmocka_unit_test(only_libpq_and_poolers_do_not_know_the_outcome),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
