#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/defs.h"
#include "domain/text/rfc3339.h"

static void assert_is(const char *text, const char *utc)
{
	char out[CLOCK_TEXT_SIZE];
	int64_t wall_us = 0;

	if (!rfc3339_parse(text, strlen(text), &wall_us))
		fail_msg("%s is refused", text);
	assert_string_equal(clock_text(out, wall_us), utc);
}

static void reads_points_in_time(void **state)
{
	(void)state;
	assert_is("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z");
	assert_is("2026-11-21T10:00:00.123Z", "2026-11-21T10:00:00.123Z");
	assert_is("2026-11-21t10:00:00z", "2026-11-21T10:00:00.000Z");
	assert_is("2026-11-21T00:30:00+01:00", "2026-11-20T23:30:00.000Z");
	assert_is("2026-12-31T23:30:00-05:30", "2027-01-01T05:00:00.000Z");
	assert_is("2026-11-21T23:59:59+23:59", "2026-11-21T00:00:59.000Z");
	assert_is("2024-02-29T12:00:00.5Z", "2024-02-29T12:00:00.500Z");
	assert_is("2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000Z");
	assert_is("2026-06-30T23:59:60Z", "2026-07-01T00:00:00.000Z");
	assert_is("2026-11-21T10:00:00.123456789Z", "2026-11-21T10:00:00.123Z");
}

static void refuses_other_forms_and_days_that_are_not(void **state)
{
	static const char *const wrong[] = {
		"",
		"2026",
		"2026-11-21",
		"2026-11-21 10:00:00Z",
		"2026-11-21T10:00:00",
		"2026-11-21T10:00Z",
		"2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z",
		"2026-02-29T00:00:00Z",
		"1900-02-29T00:00:00Z",
		"2026-04-31T00:00:00Z",
		"2026-11-00T00:00:00Z",
		"2026-11-21T24:00:00Z",
		"2026-11-21T10:60:00Z",
		"2026-11-21T10:00:61Z",
		"2026-11-21T10:00:00.Z",
		"2026-11-21T10:00:00+0100",
		"2026-11-21T10:00:00+24:00",
		"2026-11-21T10:00:00+01:60",
		"2026-11-21T10:00:00Zx",
		"-2026-11-21T10:00:00Z",
		"02026-11-21T10:00:00Z",
		"tomorrow",
	};
	int64_t wall_us = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (rfc3339_parse(wrong[i], strlen(wrong[i]), &wall_us))
			fail_msg("%s is taken", wrong[i]);
	assert_int_equal(wall_us, 7);
}

static void refuses_what_lacks_one_character_or_has_one_twice(void **state)
{
	static const char *const right[] = {"2026-11-21T10:00:00Z", "2026-11-21T10:00:00.5+01:00"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(right); i++) {
		size_t len = strlen(right[i]);

		for (size_t at = 0; at < len; at++) {
			char text[32];
			int64_t wall_us = 7;

			memcpy(text, right[i], at);
			memcpy(text + at, right[i] + at + 1, len - at);
			if (rfc3339_parse(text, len - 1, &wall_us))
				fail_msg("%s is taken", text);
			if (right[i][at] == '5') /* a fraction has any number of digits */
				continue;
			memcpy(text, right[i], at + 1);
			memcpy(text + at + 1, right[i] + at, len - at + 1);
			if (rfc3339_parse(text, len + 1, &wall_us))
				fail_msg("%s is taken", text);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_points_in_time),
		cmocka_unit_test(refuses_other_forms_and_days_that_are_not),
		cmocka_unit_test(refuses_what_lacks_one_character_or_has_one_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
