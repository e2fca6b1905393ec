#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static void holds_what_was_added_and_a_nul(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	buf_add_text(&b, "one ");
	buf_printf(&b, "%d %s", 2, "three");
	buf_add(&b, "\0!", 2);
	assert_true(buf_ok(&b));
	assert_int_equal(b.len, 13);
	assert_memory_equal(b.bytes, "one 2 three\0!", 14);
	buf_free(&b);
}

static void grows_over_many_appends(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	for (int i = 0; i < 10000; i++)
		buf_add(&b, "abcdefg", 7);
	assert_int_equal(b.len, 70000);
	assert_int_equal(b.bytes[69999], 'g');
	assert_int_equal(b.bytes[70000], '\0');
	buf_free(&b);
}

static void adding_nothing_makes_an_empty_text(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	buf_add(&b, NULL, 0);
	assert_string_equal(b.bytes, "");
	assert_int_equal(b.len, 0);
	buf_free(&b);
}

static void reserves_bytes_that_count(void **state)
{
	struct buf b = BUF_EMPTY;
	char *room = NULL;

	(void)state;
	buf_add_text(&b, "a");
	room = buf_reserve(&b, 200);
	assert_non_null(room);
	memset(room, 'x', 200);
	assert_int_equal(b.len, 201);
	assert_int_equal(b.bytes[201], '\0');
	buf_free(&b);
}

static void stays_failed_until_cleared(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	buf_add_text(&b, "kept");
	assert_null(buf_reserve(&b, SIZE_MAX / 2));
	assert_false(buf_ok(&b));
	buf_add_text(&b, "lost");
	buf_printf(&b, "lost");
	assert_int_equal(b.len, 4);
	buf_clear(&b);
	assert_true(buf_ok(&b));
	buf_add_text(&b, "new");
	assert_string_equal(b.bytes, "new");
	buf_free(&b);
}

static void free_leaves_it_empty_and_takes_null(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	buf_add_text(&b, "x");
	buf_free(&b);
	assert_null(b.bytes);
	assert_int_equal(b.size, 0);
	buf_free(&b);
	buf_free(NULL);
}

static void dropping_the_first_bytes_gives_back_memory(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	for (int i = 0; i < 100; i++)
		buf_add_text(&b, "0123456789");
	buf_drop(&b, 987);
	assert_string_equal(b.bytes, "7890123456789");
	assert_int_equal(b.len, 13);
	assert_int_equal(b.size, 14);
	buf_add_text(&b, "and more");
	assert_string_equal(b.bytes, "7890123456789and more");
	buf_drop(&b, b.len);
	assert_null(b.bytes);
	assert_int_equal(b.size, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_what_was_added_and_a_nul),
		cmocka_unit_test(grows_over_many_appends),
		cmocka_unit_test(adding_nothing_makes_an_empty_text),
		cmocka_unit_test(reserves_bytes_that_count),
		cmocka_unit_test(stays_failed_until_cleared),
		cmocka_unit_test(free_leaves_it_empty_and_takes_null),
		cmocka_unit_test(dropping_the_first_bytes_gives_back_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
