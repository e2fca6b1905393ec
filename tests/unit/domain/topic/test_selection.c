#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "domain/topic/selection.h"

static struct selection *of(const char *topics, const char *cursor)
{
	struct selection *s = NULL;

	assert_int_equal(selection_of_topics(&s, (struct span){topics, strlen(topics)}, cursor), OK);
	return s;
}

static void assert_refused(const char *topics, size_t len)
{
	struct selection *s = NULL;

	assert_int_equal(selection_of_topics(&s, (struct span){topics, len}, NULL), ERR_INPUT);
	assert_null(s);
}

static void selects_one_diagnosis(void **state)
{
	struct selection *s;

	(void)state;
	assert_int_equal(selection_of_diagnosis(&s, 123, NULL), OK);
	assert_int_equal(s->diagnosis_id, 123);
	assert_int_equal(s->count, 1);
	assert_string_equal(s->items[0].topic, "diagnosis/123");
	assert_false(s->items[0].has_cursor);
	free(s);
	assert_int_equal(selection_of_diagnosis(&s, 123, "abc-5"), OK);
	assert_true(s->items[0].has_cursor && !s->items[0].cursor_damaged);
	assert_int_equal(s->items[0].cursor.seq, 5);
	free(s);
	assert_int_equal(selection_of_diagnosis(&s, 123, "5"), OK);
	assert_true(s->items[0].has_cursor && s->items[0].cursor_damaged);
	free(s);
}

static void gives_each_topic_its_part_of_the_cursor(void **state)
{
	struct selection *s = of("b,a/1,c", "e-1..f-3");

	(void)state;
	assert_int_equal(s->diagnosis_id, 0);
	assert_int_equal(s->count, 3);
	assert_string_equal(s->items[0].topic, "b");
	assert_string_equal(s->items[1].topic, "a/1");
	assert_string_equal(s->items[2].topic, "c");
	assert_int_equal(s->items[0].cursor.seq, 1);
	assert_false(s->items[1].has_cursor);
	assert_string_equal(s->items[2].cursor.epoch, "f");
	assert_int_equal(s->items[2].cursor.seq, 3);
	free(s);
}

static void calls_a_cursor_of_another_length_damaged_for_all(void **state)
{
	static const char *const cursors[] = {"", "e-1", "e-1.e-2.e-3", ".."};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cursors); i++) {
		struct selection *s = of("a,b", cursors[i]);

		assert_true(s->items[0].has_cursor && s->items[0].cursor_damaged);
		assert_true(s->items[1].has_cursor && s->items[1].cursor_damaged);
		free(s);
	}
}

static void calls_a_damaged_part_damaged_for_its_topic(void **state)
{
	struct selection *s = of("a,b", "e-1.x");

	(void)state;
	assert_false(s->items[0].cursor_damaged);
	assert_true(s->items[1].cursor_damaged);
	free(s);
}

static void refuses_what_are_not_different_names(void **state)
{
	static const char *const wrong[] = {"", ",", "a,", ",a", "a,,b", "a,a", "a b", "a,\xc3\xa4", "a;b"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_refused(wrong[i], strlen(wrong[i]));
	assert_refused("a\0b", 3);
}

static void takes_a_hundred_and_no_more(void **state)
{
	struct buf topics = BUF_EMPTY;
	struct selection *s;

	(void)state;
	for (int i = 0; i < SELECTION_MAX; i++)
		buf_printf(&topics, "%sx/%d", i > 0 ? "," : "", i);
	s = of(topics.bytes, NULL);
	assert_int_equal(s->count, SELECTION_MAX);
	free(s);
	buf_add_text(&topics, ",y");
	assert_refused(topics.bytes, topics.len);
	buf_free(&topics);
}

static void takes_a_name_as_long_as_may_be(void **state)
{
	char name[TOPIC_NAME_MAX + 2];
	struct selection *s;

	(void)state;
	memset(name, 'a', sizeof(name));
	assert_refused(name, TOPIC_NAME_MAX + 1);
	name[TOPIC_NAME_MAX] = '\0';
	s = of(name, NULL);
	assert_string_equal(s->items[0].topic, name);
	free(s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(selects_one_diagnosis),
		cmocka_unit_test(gives_each_topic_its_part_of_the_cursor),
		cmocka_unit_test(calls_a_cursor_of_another_length_damaged_for_all),
		cmocka_unit_test(calls_a_damaged_part_damaged_for_its_topic),
		cmocka_unit_test(refuses_what_are_not_different_names),
		cmocka_unit_test(takes_a_hundred_and_no_more),
		cmocka_unit_test(takes_a_name_as_long_as_may_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
