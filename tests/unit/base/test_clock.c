#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static void writes_rfc_3339_in_utc_with_milliseconds(void **state)
{
	char out[CLOCK_TEXT_SIZE];

	(void)state;
	assert_string_equal(clock_text(out, 0), "1970-01-01T00:00:00.000Z");
	assert_string_equal(clock_text(out, INT64_C(1795255200123999)), "2026-11-21T10:00:00.123Z");
	assert_string_equal(clock_text(out, INT64_C(1709164799999999)), "2024-02-28T23:59:59.999Z");
	assert_string_equal(clock_text(out, INT64_C(1709164800000000)), "2024-02-29T00:00:00.000Z");
}

static void writes_times_before_1970(void **state)
{
	char out[CLOCK_TEXT_SIZE];

	(void)state;
	assert_string_equal(clock_text(out, -1), "1969-12-31T23:59:59.999Z");
}

static void writes_the_date_of_http(void **state)
{
	char out[CLOCK_HTTP_DATE_SIZE];

	(void)state;
	assert_string_equal(clock_http_date(out, INT64_C(784111777) * 1000000), "Sun, 06 Nov 1994 08:49:37 GMT");
	assert_string_equal(clock_http_date(out, INT64_C(1795255200999999)), "Sat, 21 Nov 2026 10:00:00 GMT");
}

static void tells_how_long_the_day_lasts(void **state)
{
	(void)state;
	assert_int_equal(clock_day_left_s(0), 86400);
	assert_int_equal(clock_day_left_s(INT64_C(1795255200123999)), 14 * 3600);
	assert_int_equal(clock_day_left_s(INT64_C(1709164799999999)), 1);
}

static void the_monotonic_clock_does_not_go_back(void **state)
{
	int64_t before = clock_monotonic_ms();

	(void)state;
	for (int i = 0; i < 1000; i++) {
		int64_t now = clock_monotonic_ms();

		assert_true(now >= before);
		before = now;
	}
}

static void the_wall_clock_is_in_microseconds_since_1970(void **state)
{
	(void)state;
	assert_true(clock_wall_us() > INT64_C(1700000000000000));
	assert_true(clock_wall_us() < INT64_C(99999999999000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_rfc_3339_in_utc_with_milliseconds),
		cmocka_unit_test(writes_times_before_1970),
		cmocka_unit_test(writes_the_date_of_http),
		cmocka_unit_test(tells_how_long_the_day_lasts),
		cmocka_unit_test(the_monotonic_clock_does_not_go_back),
		cmocka_unit_test(the_wall_clock_is_in_microseconds_since_1970),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
