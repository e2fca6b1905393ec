#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/http/header_list.h"

static struct span span(const char *text)
{
	return (struct span){text, strlen(text)};
}

static void assert_item(struct span item, const char *expected)
{
	assert_int_equal(item.len, strlen(expected));
	assert_memory_equal(item.bytes, expected, item.len);
}

static void items_come_without_the_space_around_them_and_empty_ones_not_at_all(void **state)
{
	struct span list = span(" , a b ,\t c\t,,"), item;

	(void)state;
	assert_true(list_next(&list, ',', &item));
	assert_item(item, "a b");
	assert_true(list_next(&list, ',', &item));
	assert_item(item, "c");
	assert_false(list_next(&list, ',', &item));
}

static void lines_count_as_one_list(void **state)
{
	struct header_list list = {0};
	struct span item;

	(void)state;
	assert_true(header_list_add(&list, span("keep-alive, Upgrade")));
	assert_true(header_list_add(&list, span("")));
	assert_true(header_list_add(&list, span("x")));
	assert_true(header_list_has(list, "upgrade"));
	assert_true(header_list_has(list, "X"));
	assert_false(header_list_has(list, "keep"));
	assert_true(header_list_next(&list, &item));
	assert_item(item, "keep-alive");
	assert_true(header_list_next(&list, &item));
	assert_item(item, "Upgrade");
	assert_true(header_list_next(&list, &item));
	assert_item(item, "x");
	assert_false(header_list_next(&list, &item));
}

static void too_many_lines_are_refused(void **state)
{
	struct header_list list = {0};

	(void)state;
	for (int i = 0; i < HEADER_LINES_MAX; i++)
		assert_true(header_list_add(&list, span("a")));
	assert_false(header_list_add(&list, span("b")));
	assert_false(header_list_has(list, "b"));
}

static bool accepts(const char *accept)
{
	struct header_list list = {0};

	assert_true(header_list_add(&list, span(accept)));
	return header_list_accepts(list, "application/x-text");
}

static void a_media_type_is_accepted_that_is_named_and_not_with_a_weight_of_zero(void **state)
{
	(void)state;
	assert_true(accepts("application/x-text"));
	assert_true(accepts("text/plain;q=0.5, Application/X-Text; version=1.0.0;charset=utf-8 , */*;q=0.1"));
	assert_true(accepts("application/x-text;q=0.001"));
	assert_true(accepts("application/x-text;q=0, application/x-text;version=2"));
	assert_false(accepts("application/x-text;q=0"));
	assert_false(accepts("application/x-text;version=1;Q=0.000"));
	assert_false(accepts("application/x-texts, application/x, text/plain;application/x-text"));
	assert_false(accepts("*/*"));
	assert_false(accepts(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_come_without_the_space_around_them_and_empty_ones_not_at_all),
		cmocka_unit_test(lines_count_as_one_list),
		cmocka_unit_test(too_many_lines_are_refused),
		cmocka_unit_test(a_media_type_is_accepted_that_is_named_and_not_with_a_weight_of_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
