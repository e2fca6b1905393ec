#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "domain/caller/token_cache.h"

#define MANY 1000

static struct span text_of(char *text, size_t size, int n)
{
	return (struct span){text, (size_t)snprintf(text, size, "token %d", n)};
}

static void gives_what_was_kept_about_the_same_bytes_and_nothing_about_others(void **state)
{
	struct token_cache *c;
	char text[32];
	int value;

	(void)state;
	assert_int_equal(token_cache_new(&c, sizeof(value), 64), OK);
	for (value = 1; value <= 3; value++) {
		assert_null(token_cache_find(c, text_of(text, sizeof(text), value)));
		token_cache_keep(c, text_of(text, sizeof(text), value), &value);
	}
	for (value = 1; value <= 3; value++)
		assert_int_equal(*(const int *)token_cache_find(c, text_of(text, sizeof(text), value)), value);
	/* One byte less is something else. */
	assert_null(token_cache_find(c, (struct span){"token 1", 6}));
	value = 100;
	token_cache_keep(c, text_of(text, sizeof(text), 1), &value);
	assert_int_equal(*(const int *)token_cache_find(c, text_of(text, sizeof(text), 1)), 100);
	token_cache_free(&c);
	assert_null(c);
	token_cache_free(&c);
}

static void forgets_what_was_unused_for_the_longest_when_it_is_full(void **state)
{
	struct token_cache *c;
	char text[32];
	int value, kept = 0;

	(void)state;
	/* One set of places: what is used stays, whatever else comes. */
	assert_int_equal(token_cache_new(&c, sizeof(value), 4), OK);
	for (value = 0; value < MANY; value++) {
		const int *first;

		token_cache_keep(c, text_of(text, sizeof(text), value), &value);
		first = token_cache_find(c, text_of(text, sizeof(text), 0));
		assert_non_null(first);
		assert_int_equal(*first, 0);
	}
	for (int n = 0; n < MANY; n++)
		kept += token_cache_find(c, text_of(text, sizeof(text), n)) != NULL;
	assert_int_equal(kept, 4);
	assert_non_null(token_cache_find(c, text_of(text, sizeof(text), MANY - 1)));
	token_cache_free(&c);
}

static void holds_nearly_as_many_as_it_has_places(void **state)
{
	struct token_cache *c;
	char text[32];
	int value, kept = 0;

	(void)state;
	assert_int_equal(token_cache_new(&c, sizeof(value), 2 * (size_t)MANY), OK);
	for (value = 0; value < MANY; value++)
		token_cache_keep(c, text_of(text, sizeof(text), value), &value);
	for (value = 0; value < MANY; value++) {
		const int *found = token_cache_find(c, text_of(text, sizeof(text), value));

		kept += found != NULL;
		assert_true(!found || *found == value);
	}
	assert_in_range(kept, MANY * 9 / 10, MANY);
	token_cache_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_what_was_kept_about_the_same_bytes_and_nothing_about_others),
		cmocka_unit_test(forgets_what_was_unused_for_the_longest_when_it_is_full),
		cmocka_unit_test(holds_nearly_as_many_as_it_has_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
