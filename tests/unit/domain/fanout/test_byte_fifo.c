#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/fanout/byte_fifo.h"

static void add(struct byte_fifo *f, const char *text, size_t size_max)
{
	assert_int_equal(byte_fifo_make_room(f, strlen(text), size_max), OK);
	byte_fifo_add(f, text, strlen(text));
}

static void offsets_stay_the_same_when_older_bytes_are_dropped(void **state)
{
	struct byte_fifo f = {0};

	(void)state;
	add(&f, "abcdef", 8);
	assert_int_equal(byte_fifo_used(&f), 6);
	byte_fifo_drop(&f, 4);
	assert_int_equal(byte_fifo_used(&f), 2);
	assert_memory_equal(byte_fifo_at(&f, 4), "ef", 2);
	add(&f, "ghijkl", 8);
	assert_int_equal(f.end, 12);
	assert_memory_equal(byte_fifo_at(&f, 5), "fghijkl", 7);
	byte_fifo_forget(&f);
}

/* The room at the front is used again: whoever keeps dropping what was added never needs more memory. */
static void what_is_dropped_makes_room(void **state)
{
	struct byte_fifo f = {0};
	size_t size = 0;

	(void)state;
	add(&f, "0123456789", 16);
	size = f.size;
	for (int i = 0; i < 1000; i++) {
		byte_fifo_drop(&f, f.end - 2);
		add(&f, "0123456", 16);
		assert_memory_equal(byte_fifo_at(&f, f.end - 7), "0123456", 7);
		size = size > f.size ? size : f.size;
	}
	assert_true(size <= 32);
	byte_fifo_forget(&f);
}

static void after_forgetting_offsets_go_on(void **state)
{
	struct byte_fifo f = {0};

	(void)state;
	add(&f, "abc", 8);
	byte_fifo_forget(&f);
	assert_int_equal(byte_fifo_used(&f), 0);
	assert_int_equal(f.size, 0);
	add(&f, "de", 8);
	assert_int_equal(f.start, 3);
	assert_memory_equal(byte_fifo_at(&f, 3), "de", 2);
	byte_fifo_forget(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offsets_stay_the_same_when_older_bytes_are_dropped),
		cmocka_unit_test(what_is_dropped_makes_room),
		cmocka_unit_test(after_forgetting_offsets_go_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
