#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"

static unsigned left; /* allocations until there is no memory */

static void *allocate(size_t size)
{
	return left > 0 && left-- ? malloc(size) : NULL;
}

/* What its macros allocate with. */
#undef uthash_malloc
#define uthash_malloc(size) allocate(size)

struct element {
	UT_hash_handle hh;
	int64_t id;
};

#define ELEMENTS 1000

/* Without memory uthash ended the program, with no word in the log and none to the clients. */
static void an_element_that_finds_no_memory_is_not_in_the_table_and_the_others_are(void **state)
{
	struct element *elements = calloc(ELEMENTS, sizeof(*elements)), *table = NULL, *found;
	unsigned count = 0, refused = 0;

	(void)state;
	for (int64_t i = 0; i < ELEMENTS; i++) {
		elements[i].id = i;
		left = i % 3 ? 10 : 0;
		HASH_ADD(hh, table, id, sizeof(elements[i].id), &elements[i]);
		if (HASH_HAS(hh, &elements[i]))
			count++;
		else
			refused++;
	}
	assert_true(refused > 0);
	assert_int_equal(HASH_COUNT(table), count);
	for (int64_t i = 0; i < ELEMENTS; i++) {
		HASH_FIND(hh, table, &i, sizeof(i), found);
		assert_ptr_equal(found, HASH_HAS(hh, &elements[i]) ? &elements[i] : NULL);
	}
	HASH_CLEAR(hh, table);
	free(elements);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_element_that_finds_no_memory_is_not_in_the_table_and_the_others_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
