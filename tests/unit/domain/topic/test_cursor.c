#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/topic/cursor.h"

static void reads_what_it_wrote(void **state)
{
	static const uint64_t seqs[] = {0, 1, 42, INT64_MAX};
	char text[CURSOR_TEXT_SIZE];
	struct cursor c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(seqs); i++) {
		cursor_text(text, "a1b2c3d4", seqs[i]);
		assert_int_equal(cursor_parse(&c, text, strlen(text)), OK);
		assert_string_equal(c.epoch, "a1b2c3d4");
		assert_true(c.seq == seqs[i]);
	}
}

static void takes_the_longest_epoch(void **state)
{
	const char *epoch = "0123456789abcdef0123456789abcdef";
	char text[CURSOR_TEXT_SIZE];
	struct cursor c;

	(void)state;
	cursor_text(text, epoch, INT64_MAX);
	assert_int_equal(cursor_parse(&c, text, strlen(text)), OK);
	assert_string_equal(c.epoch, epoch);
}

static void refuses_what_is_no_cursor_and_changes_nothing(void **state)
{
	static const char *const wrong[] = {
		"",
		"-",
		"abc",
		"abc-",
		"-5",
		"ABC-5",
		"a b-5",
		"abc-5x",
		"abc--5",
		"abc-5-6",
		"abc-+5",
		"abc- 5",
		"abc-9223372036854775808",
		"abc-99999999999999999999999",
		"0123456789abcdef0123456789abcdef0-5",
	};
	struct cursor c = {.epoch = "kept", .seq = 7};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(cursor_parse(&c, wrong[i], strlen(wrong[i])), ERR_INPUT);
	assert_int_equal(cursor_parse(&c, "ab\0-5", 5), ERR_INPUT);
	assert_string_equal(c.epoch, "kept");
	assert_int_equal(c.seq, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_it_wrote),
		cmocka_unit_test(takes_the_longest_epoch),
		cmocka_unit_test(refuses_what_is_no_cursor_and_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
