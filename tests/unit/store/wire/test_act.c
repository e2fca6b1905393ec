#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/defs.h"
#include "domain/caller/rate.h"
#include "store/wire/act.h"

static void each_outcome_has_a_word_both_ways(void **state)
{
	static const char *const words[] = {"ok",      "forbidden",  "not_found", "invalid", "invalid_member",
					    "settled", "key_reused", "over_quota"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		assert_string_equal(act_outcome_text(act_outcome(words[i])), words[i]);
	assert_int_equal(act_outcome("ok"), OK);
	assert_int_equal(act_outcome("OK"), ERR_DATABASE);
	assert_int_equal(act_outcome(NULL), ERR_DATABASE);
	assert_string_equal(act_outcome_text(ERR_AWAY), "failed");
}

static void parameters_are_in_the_statement_s_order(void **state)
{
	const struct act act = {.user_id = "456",
				.role = "user",
				.type = "health_update",
				.data = "{}",
				.queue_max = 100,
				.queue_min_age_s = 60,
				.require_user = true,
				.daily_max_kib = 102400,
				.predictions = 2};
	static const char *const expected[ACT_PARAMS] = {"456", "user", NULL,	"health_update", "{}",	 NULL,
							 "100", "60",	"true", "102400",	 "apply"};
	struct act_params params;

	(void)state;
	act_fill_params(&act, &params);
	for (size_t i = 0; i < ACT_PARAMS; i++) {
		assert_int_equal(params.values[i] == NULL, expected[i] == NULL);
		if (expected[i])
			assert_string_equal(params.values[i], expected[i]);
	}
}

/* The first is paid for by the request itself. */
static void what_makes_more_costs_more(void **state)
{
	(void)state;
	assert_int_equal(act_cost(0), 0);
	assert_int_equal(act_cost(1), 0);
	assert_int_equal(act_cost(17), RATE_ONE);
	assert_int_equal(act_cost(9), RATE_ONE / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_outcome_has_a_word_both_ways),
		cmocka_unit_test(parameters_are_in_the_statement_s_order),
		cmocka_unit_test(what_makes_more_costs_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
