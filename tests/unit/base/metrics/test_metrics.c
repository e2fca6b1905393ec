#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/defs.h"
#include "base/metrics/metrics.h"

enum { OPENED, USERS, DELAY, BATCHES, REQUESTS, AGE };

static const struct metric table[] = {
	{METRIC_COUNTER, "t_opened_total", "Opened.", {"transport", "code"}, {"ws|sse", "1000|eof"}},
	{METRIC_GAUGE, "t_users", "Users.", {NULL}, {NULL}},
	{METRIC_HISTOGRAM, "t_delay_seconds", "Delay.", {NULL}, {NULL}},
	{METRIC_HISTOGRAM, "t_batches", "Batches.", {NULL}, {NULL}},
	{METRIC_COUNTER, "t_requests_total", "Requests.", {"route", "status"}, {METRIC_GIVEN, "200|500"}},
	{METRIC_GAUGE, "t_age_seconds", "Age.", {NULL}, {NULL}},
};

struct counted {
	struct metrics metrics;
	metric_number *numbers;
	struct buf text;
};

static int set_up(void **state)
{
	struct counted *c = calloc(1, sizeof(*c));

	c->numbers = calloc(metrics_slots(table, ARRAY_LEN(table)), sizeof(*c->numbers));
	metrics_init(&c->metrics, table, ARRAY_LEN(table), c->numbers, false);
	*state = c;
	return 0;
}

static int tear_down(void **state)
{
	struct counted *c = *state;

	buf_free(&c->text);
	free(c->numbers);
	free(c);
	return 0;
}

static const char *series_of(struct counted *c, unsigned metric, const char *labels, const char *given)
{
	buf_clear(&c->text);
	metrics_write_series(&c->text, &c->metrics, metric, labels, given);
	assert_true(buf_ok(&c->text));
	return c->text.bytes ? c->text.bytes : "";
}

static void each_pair_of_words_is_a_series_of_its_own(void **state)
{
	struct counted *c = *state;

	metrics_add(&c->metrics, OPENED, 0, 1, 3);
	metrics_add(&c->metrics, OPENED, 1, 0, 1);
	metrics_add(&c->metrics, OPENED, 1, 0, 1);
	assert_string_equal(series_of(c, OPENED, "", NULL), "t_opened_total{transport=\"ws\",code=\"1000\"} 0\n"
							    "t_opened_total{transport=\"ws\",code=\"eof\"} 3\n"
							    "t_opened_total{transport=\"sse\",code=\"1000\"} 2\n"
							    "t_opened_total{transport=\"sse\",code=\"eof\"} 0\n");
}

static void a_gauge_goes_up_and_down(void **state)
{
	struct counted *c = *state;

	metrics_add(&c->metrics, USERS, 0, 0, 2);
	metrics_add(&c->metrics, USERS, 0, 0, -1);
	assert_string_equal(series_of(c, USERS, "", NULL), "t_users 1\n");
	metrics_set(&c->metrics, USERS, 0, 0, 7);
	assert_string_equal(series_of(c, USERS, "program=\"live\"", NULL), "t_users{program=\"live\"} 7\n");
}

static void seconds_are_told_of_microseconds(void **state)
{
	struct counted *c = *state;

	metrics_set(&c->metrics, AGE, 0, 0, 1500000);
	assert_string_equal(series_of(c, AGE, "", NULL), "t_age_seconds 1.5\n");
	metrics_set(&c->metrics, AGE, 0, 0, 2000001);
	assert_string_equal(series_of(c, AGE, "", NULL), "t_age_seconds 2.000001\n");
	metrics_set(&c->metrics, AGE, 0, 0, 3000000);
	assert_string_equal(series_of(c, AGE, "", NULL), "t_age_seconds 3\n");
}

static bool has(const char *text, const char *line)
{
	return strstr(text, line) != NULL;
}

static void buckets_of_a_histogram_hold_what_is_below_them(void **state)
{
	struct counted *c = *state;
	const char *text;

	metrics_observe(&c->metrics, DELAY, 0, 0, 1000, 1);	/* as large as the bound */
	metrics_observe(&c->metrics, DELAY, 0, 0, 1001, 2);	/* just above */
	metrics_observe(&c->metrics, DELAY, 0, 0, 60000000, 1); /* above all */
	metrics_observe(&c->metrics, DELAY, 0, 0, -5, 1);	/* the clock was set back */
	text = series_of(c, DELAY, "", NULL);
	assert_true(has(text, "t_delay_seconds_bucket{le=\"0.001\"} 2\n"));
	assert_true(has(text, "t_delay_seconds_bucket{le=\"0.0025\"} 4\n"));
	assert_true(has(text, "t_delay_seconds_bucket{le=\"10.0\"} 4\n"));
	assert_true(has(text, "t_delay_seconds_bucket{le=\"+Inf\"} 5\n"));
	assert_true(has(text, "t_delay_seconds_sum 60.003002\n"));
	assert_true(has(text, "t_delay_seconds_count 5\n"));
}

static void a_histogram_that_is_not_of_seconds_counts_things(void **state)
{
	struct counted *c = *state;
	const char *text;

	metrics_observe(&c->metrics, BATCHES, 0, 0, 64, 1);
	text = series_of(c, BATCHES, "", NULL);
	assert_true(has(text, "t_batches_bucket{le=\"50.0\"} 0\nt_batches_bucket{le=\"100.0\"} 1\n"));
	assert_true(has(text, "t_batches_sum 64\n"));
}

static void of_words_that_are_given_only_what_was_counted_is_told(void **state)
{
	struct counted *c = *state;

	metrics_add(&c->metrics, REQUESTS, 1, 0, 9);
	assert_string_equal(series_of(c, REQUESTS, "program=\"live\"", "none|/ws/send"),
			    "t_requests_total{program=\"live\",route=\"/ws/send\",status=\"200\"} 9\n");
}

static void the_numbers_of_two_are_added_and_gauges_only_where_they_are_wanted(void **state)
{
	struct counted *c = *state;
	void *other = NULL;
	struct counted *o;

	set_up(&other);
	o = other;
	metrics_add(&o->metrics, OPENED, 0, 0, 5);
	metrics_set(&o->metrics, USERS, 0, 0, 3);
	metrics_observe(&o->metrics, DELAY, 0, 0, 10, 1);
	metrics_merge(&c->metrics, o->numbers, true);
	metrics_merge(&c->metrics, o->numbers, false);
	assert_true(has(series_of(c, OPENED, "", NULL), "t_opened_total{transport=\"ws\",code=\"1000\"} 10\n"));
	assert_string_equal(series_of(c, USERS, "", NULL), "t_users 3\n");
	assert_true(has(series_of(c, DELAY, "", NULL), "t_delay_seconds_count 2\n"));
	metrics_clear_gauges(&c->metrics);
	assert_string_equal(series_of(c, USERS, "", NULL), "t_users 0\n");
	assert_true(has(series_of(c, DELAY, "", NULL), "t_delay_seconds_count 2\n"));
	tear_down(&other);
}

static void a_table_with_another_name_word_or_order_has_another_fingerprint(void **state)
{
	struct metric other[ARRAY_LEN(table)];
	uint64_t print = metrics_fingerprint(table, ARRAY_LEN(table));

	(void)state;
	memcpy(other, table, sizeof(other));
	assert_true(metrics_fingerprint(other, ARRAY_LEN(other)) == print);
	other[0].words[0] = "sse|ws";
	assert_true(metrics_fingerprint(other, ARRAY_LEN(other)) != print);
	memcpy(other, table, sizeof(other));
	other[1].name = "t_people";
	assert_true(metrics_fingerprint(other, ARRAY_LEN(other)) != print);
	other[1] = table[5];
	other[5] = table[1];
	assert_true(metrics_fingerprint(other, ARRAY_LEN(other)) != print);
}

static void lines_of_text_come_below_their_heads_and_what_the_table_does_not_have_is_left_out(void **state)
{
	static const char lines[] = "t_age_seconds{node=\"a\"} 1\nt_userses 4\nt_users 2\nt_age_seconds{node=\"b\"} 2";
	struct counted *c = *state;

	metrics_write_text(&c->text, table, ARRAY_LEN(table), (struct span){lines, strlen(lines)}, METRICS_TEXT);
	assert_string_equal(c->text.bytes, "# HELP t_users Users.\n# TYPE t_users gauge\nt_users 2\n"
					   "# HELP t_age_seconds Age.\n# TYPE t_age_seconds gauge\n"
					   "t_age_seconds{node=\"a\"} 1\nt_age_seconds{node=\"b\"} 2\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_pair_of_words_is_a_series_of_its_own),
		TEST(a_gauge_goes_up_and_down),
		TEST(seconds_are_told_of_microseconds),
		TEST(buckets_of_a_histogram_hold_what_is_below_them),
		TEST(a_histogram_that_is_not_of_seconds_counts_things),
		TEST(of_words_that_are_given_only_what_was_counted_is_told),
		TEST(the_numbers_of_two_are_added_and_gauges_only_where_they_are_wanted),
		TEST(a_table_with_another_name_word_or_order_has_another_fingerprint),
		TEST(lines_of_text_come_below_their_heads_and_what_the_table_does_not_have_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
