#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/defs.h"
#include "store/wire/pgarray.h"

/* What PostgreSQL's array_send() gives for the same. */

static void writes_texts_with_null(void **state)
{
	static const unsigned char expected[] = {
		0, 0, 0, 1, 0, 0, 0, 1,	  0,	0,    0,    25,	  0,	0,    0,    3,	  0,
		0, 0, 1, 0, 0, 0, 1, 'a', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	};
	struct pgarray a = {0};

	(void)state;
	pgarray_begin(&a, PGARRAY_TEXT);
	pgarray_add_text(&a, "a");
	pgarray_add_text(&a, NULL);
	pgarray_add_text(&a, "");
	assert_int_equal(a.count, 3);
	assert_int_equal(a.bytes.len, sizeof(expected));
	assert_memory_equal(a.bytes.bytes, expected, sizeof(expected));
	pgarray_free(&a);
}

static void writes_integers(void **state)
{
	static const unsigned char expected[] = {
		0, 0, 0, 1, 0, 0, 0, 0, 0,    0,    0,	  20,	0,    0,    0,	  1,
		0, 0, 0, 1, 0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
	};
	struct pgarray a = {0};

	(void)state;
	pgarray_begin(&a, PGARRAY_INT8);
	pgarray_add_int8(&a, -2);
	assert_int_equal(a.bytes.len, sizeof(expected));
	assert_memory_equal(a.bytes.bytes, expected, sizeof(expected));
	pgarray_free(&a);
}

static void begins_anew_without_what_was_there(void **state)
{
	struct pgarray a = {0};
	size_t empty = 0;

	(void)state;
	pgarray_begin(&a, PGARRAY_TEXT);
	empty = a.bytes.len;
	pgarray_add_null(&a);
	pgarray_begin(&a, PGARRAY_BYTES);
	assert_int_equal(a.bytes.len, empty);
	assert_int_equal(a.count, 0);
	assert_int_equal(a.bytes.bytes[7], 0);	 /* has no NULL */
	assert_int_equal(a.bytes.bytes[11], 17); /* bytea */
	assert_int_equal(a.bytes.bytes[15], 0);	 /* elements */
	pgarray_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_texts_with_null),
		cmocka_unit_test(writes_integers),
		cmocka_unit_test(begins_anew_without_what_was_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
