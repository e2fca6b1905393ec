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

static struct selection *of_query(const char *query, const char *last_event_id, int64_t diagnosis_id, const char *wrong)
{
	struct problem problem = PROBLEM_NONE;
	struct selection *s = NULL;
	enum err e = selection_of_query(&s, (struct span){query, strlen(query)},
					(struct span){last_event_id, strlen(last_event_id)}, diagnosis_id, &problem);

	assert_int_equal(e, OK);
	assert_int_equal(problem.errors_count, wrong ? 1 : 0);
	if (wrong)
		assert_non_null(strstr(problem.errors.bytes, wrong));
	assert_true(!s == (wrong != NULL));
	problem_free(&problem);
	return s;
}

static void reads_types_and_how_far_to_go_back_of_a_query(void **state)
{
	struct selection *s = of_query("topics=a,b&cursor=e-1.&types=x%2Cy&rewind=20&presence=yes", "", 0, NULL);

	(void)state;
	assert_int_equal(s->count, 2);
	assert_true(s->items[0].has_cursor && !s->items[1].has_cursor);
	assert_int_equal(s->items[1].rewind, 20);
	assert_true(s->items[0].presence && s->items[1].presence);
	assert_ptr_equal(s->items[1].types, s->types);
	assert_string_equal(message_types_json(s->types), "[\"x\",\"y\"]");
	selection_free(&s);
	assert_null(s);
	s = of_query("cursor=e-1", "f-2", 7, NULL);
	assert_string_equal(s->items[0].cursor.epoch, "f");
	assert_null(s->types);
	assert_int_equal(s->items[0].rewind, 0);
	assert_false(s->items[0].presence);
	selection_free(&s);
	s = of_query("presence=no", "", 7, NULL);
	assert_false(s->items[0].presence);
	selection_free(&s);
	s = of_query("cursor=", "", 7, NULL);
	assert_true(s->items[0].cursor_damaged);
	selection_free(&s);
	selection_free(&s);
}

static void reads_the_name_of_a_device_and_whether_a_cursor_is_that_of_the_last_event(void **state)
{
	struct selection *s = of_query("cursor=e-1&device=My.phone_2-b", "", 7, NULL);

	(void)state;
	assert_string_equal(s->device, "My.phone_2-b");
	assert_int_equal(s->items[0].cursor_origin, CURSOR_OF_QUERY);
	selection_free(&s);
	s = of_query("", "f-2", 7, NULL);
	assert_string_equal(s->device, "");
	assert_int_equal(s->items[0].cursor_origin, CURSOR_OF_LAST_EVENT);
	selection_free(&s);
	(void)of_query("device=", "", 7, "device");
	(void)of_query("device=a+b", "", 7, "device");
	(void)of_query("device=aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggggg", "", 7, "device");
}

static void says_which_parameter_of_a_query_is_wrong(void **state)
{
	(void)state;
	(void)of_query("", "", 0, "topics");
	(void)of_query("topics=a,a&types=x", "", 0, "topics");
	(void)of_query("types=", "", 7, "types");
	(void)of_query("types=a,a", "", 7, "types");
	(void)of_query("rewind=0", "", 7, "rewind");
	(void)of_query("rewind=101", "", 7, "rewind");
	(void)of_query("rewind=", "", 7, "rewind");
	(void)of_query("presence=", "", 7, "presence");
	(void)of_query("presence=true", "", 7, "presence");
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
		cmocka_unit_test(reads_types_and_how_far_to_go_back_of_a_query),
		cmocka_unit_test(reads_the_name_of_a_device_and_whether_a_cursor_is_that_of_the_last_event),
		cmocka_unit_test(says_which_parameter_of_a_query_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
