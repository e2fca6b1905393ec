#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/topic/resume_point.h"

static const struct resume_point points[] = {
	{.topic = "diagnosis/1", .epoch = "abc", .seq = 7, .recovered = true},
	{.topic = "health/456", .epoch = "def", .seq = 1, .missed_from = 2, .missed_to = 3},
};

static void assert_text(struct buf *out, const char *expected)
{
	assert_true(buf_ok(out));
	assert_string_equal(out->bytes, expected);
	buf_free(out);
}

static void cursors_are_joined_in_the_order_of_their_topics(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	resume_points_add_cursor(&out, points, 1);
	assert_text(&out, "abc-7");
	resume_points_add_cursor(&out, points, 2);
	assert_text(&out, "abc-7.def-1");
}

static void of_one_topic_it_says_whether_and_what_was_missed(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	resume_points_add_recovery(&out, points, 1, false);
	assert_text(&out, "\"recovered\":true,\"resumed_by\":\"queue\"");
	resume_points_add_recovery(&out, points + 1, 1, false);
	assert_text(&out, "\"recovered\":false,\"resumed_by\":\"queue\",\"missed\":{\"from\":2,\"to\":3}");
}

static void several_are_recovered_when_each_is(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	resume_points_add_recovery(&out, points, 1, true);
	assert_text(&out, "\"recovered\":true,\"resumed_by\":\"queue\",\"topics\":{\"diagnosis/"
			  "1\":{\"cursor\":\"abc-7\",\"recovered\":true,\"resumed_by\":\"queue\"}}");
	resume_points_add_recovery(&out, points, 2, true);
	assert_text(&out, "\"recovered\":false,\"resumed_by\":\"queue\",\"topics\":{\"diagnosis/"
			  "1\":{\"cursor\":\"abc-7\",\"recovered\":true,\"resumed_by\":\"queue\"},"
			  "\"health/"
			  "456\":{\"cursor\":\"def-1\",\"recovered\":false,\"resumed_by\":\"queue\",\"missed\":{"
			  "\"from\":2,\"to\":3}}}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cursors_are_joined_in_the_order_of_their_topics),
		cmocka_unit_test(of_one_topic_it_says_whether_and_what_was_missed),
		cmocka_unit_test(several_are_recovered_when_each_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
