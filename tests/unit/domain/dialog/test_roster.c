#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "domain/dialog/roster.h"
#include "domain/websocket/frame.h"

#define WALL_US INT64_C(1800000000123456)
#define TIME "\"timestamp\":\"2027-01-15T08:00:00.123Z\""
#define SINCE "2027-01-15T07:00:00.000Z"

/*	ids	in their order, NULL at the end; total: of the topic, of which those are the first */
static struct roster *roster_of(const char *const *ids, int64_t total)
{
	struct roster *r = roster_new(ROSTER_MAX);

	assert_non_null(r);
	for (; ids[r->count]; r->count++) {
		snprintf(r->items[r->count].id, sizeof(r->items[0].id), "%s", ids[r->count]);
		snprintf(r->items[r->count].since, sizeof(r->items[0].since), "%s", SINCE);
		r->items[r->count].connections = 1;
	}
	r->users = total > 0 ? total : (int64_t)r->count;
	r->clients = r->users;
	return r;
}

#define ROSTER(...) roster_of((const char *const[]){__VA_ARGS__}, 0)

/* The frames hold these texts, one after the other. */
static void assert_frames(struct buf *frames, size_t count, ...)
{
	struct span rest = {frames->bytes, frames->len}, text;
	va_list expected;

	assert_true(buf_ok(frames));
	va_start(expected, count);
	for (size_t i = 0; i < count; i++) {
		const char *e = va_arg(expected, const char *);

		assert_true(frame_next(&rest, &text));
		assert_int_equal(text.len, strlen(e));
		assert_memory_equal(text.bytes, e, text.len);
	}
	va_end(expected);
	assert_false(frame_next(&rest, &text));
	buf_free(frames);
}

static void tells_all_of_it_user_by_user(void **state)
{
	struct roster *r = ROSTER("456", "a\"b", NULL);
	struct buf out = BUF_EMPTY;

	(void)state;
	r->items[0].connections = 2;
	r->clients = 4;
	r->anonymous = 1;
	roster_add_whole(&out, r, "chat/x", WALL_US);
	assert_frames(&out, 1,
		      "{\"type\":\"presence\",\"topic\":\"chat/x\"," TIME ",\"data\":{\"users\":["
		      "{\"user_id\":456,\"connections\":2,\"since\":\"" SINCE "\"},"
		      "{\"user_id\":\"a\\\"b\",\"connections\":1,\"since\":\"" SINCE "\"}],"
		      "\"users_total\":2,\"clients\":4,\"anonymous\":1}}");
	free(r);
}

static void tells_of_nobody_and_of_a_diagnosis(void **state)
{
	struct roster *r = roster_of((const char *const[]){NULL}, 0);
	struct buf out = BUF_EMPTY;

	(void)state;
	roster_add_whole(&out, r, "diagnosis/123", WALL_US);
	assert_frames(&out, 1,
		      "{\"type\":\"presence\",\"topic\":\"diagnosis/123\",\"diagnosis_id\":123," TIME
		      ",\"data\":{\"users\":[],\"users_total\":0,\"clients\":0,\"anonymous\":0}}");
	free(r);
}

#define JOIN(id) "{\"type\":\"join\",\"topic\":\"t\"," TIME ",\"data\":{\"user_id\":" id "}}"
#define LEAVE(id) "{\"type\":\"leave\",\"topic\":\"t\"," TIME ",\"data\":{\"user_id\":" id "}}"

static void tells_who_has_come_and_who_has_gone(void **state)
{
	struct roster *before = ROSTER("1", "2", "5", NULL), *after = ROSTER("0", "2", "3", "7", NULL),
		      *none = ROSTER(NULL);
	struct buf out = BUF_EMPTY;
	bool whole;

	(void)state;
	assert_int_equal(roster_add_changes(&out, before, after, "t", WALL_US, &whole), 5);
	assert_false(whole);
	assert_frames(&out, 5, JOIN("0"), LEAVE("1"), JOIN("3"), LEAVE("5"), JOIN("7"));
	assert_int_equal(roster_add_changes(&out, none, before, "t", WALL_US, &whole), 3);
	assert_frames(&out, 3, JOIN("1"), JOIN("2"), JOIN("5"));
	assert_int_equal(roster_add_changes(&out, before, none, "t", WALL_US, &whole), 3);
	assert_frames(&out, 3, LEAVE("1"), LEAVE("2"), LEAVE("5"));
	free(before);
	free(after);
	free(none);
}

static void another_connection_of_a_user_is_no_news(void **state)
{
	struct roster *before = ROSTER("1", NULL), *after = ROSTER("1", NULL);
	struct buf out = BUF_EMPTY;
	bool whole;

	(void)state;
	after->items[0].connections = 0;
	after->clients = after->anonymous = 7;
	assert_int_equal(roster_add_changes(&out, before, after, "t", WALL_US, &whole), 0);
	assert_false(whole);
	assert_int_equal(out.len, 0);
	free(before);
	free(after);
}

static void of_a_large_one_tells_the_numbers_alone(void **state)
{
	static const char *const ids[] = {"1", "2", NULL};
	struct roster *before = roster_of(ids, 5000), *after = roster_of(ids, 5001), *same = roster_of(ids, 5001);
	struct buf out = BUF_EMPTY;
	bool whole;

	(void)state;
	assert_int_equal(roster_add_changes(&out, before, after, "t", WALL_US, &whole), 1);
	assert_false(whole);
	assert_frames(&out, 1,
		      "{\"type\":\"presence\",\"topic\":\"t\"," TIME
		      ",\"data\":{\"users_total\":5001,\"clients\":5001,\"anonymous\":0}}");
	assert_int_equal(roster_add_changes(&out, after, same, "t", WALL_US, &whole), 0);
	same->anonymous = 1;
	assert_int_equal(roster_add_changes(&out, after, same, "t", WALL_US, &whole), 1);
	buf_free(&out);
	free(before);
	free(after);
	free(same);
}

static void one_that_becomes_large_or_small_is_told_whole(void **state)
{
	struct roster *small = ROSTER("1", "2", NULL), *large = roster_of((const char *const[]){"1", "2", NULL}, 3);
	struct buf out = BUF_EMPTY;
	bool whole;

	(void)state;
	assert_int_equal(roster_add_changes(&out, small, large, "t", WALL_US, &whole), 0);
	assert_true(whole);
	assert_int_equal(roster_add_changes(&out, large, small, "t", WALL_US, &whole), 0);
	assert_true(whole);
	assert_int_equal(out.len, 0);
	free(small);
	free(large);
}

static void keeps_who_may_only_be_missing(void **state)
{
	struct roster *before = ROSTER("1", "3", "4", NULL), *now = ROSTER("2", "3", NULL);
	struct buf out = BUF_EMPTY;
	bool whole;

	(void)state;
	assert_int_equal(roster_keep(&now, before), OK);
	assert_int_equal(now->count, 4);
	assert_int_equal(now->users, 4);
	assert_int_equal(now->items[0].connections, 0);
	assert_int_equal(now->items[2].connections, 1);
	assert_int_equal(roster_add_changes(&out, before, now, "t", WALL_US, &whole), 1);
	assert_frames(&out, 1, JOIN("2"));
	free(before);
	free(now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_all_of_it_user_by_user),
		cmocka_unit_test(tells_of_nobody_and_of_a_diagnosis),
		cmocka_unit_test(tells_who_has_come_and_who_has_gone),
		cmocka_unit_test(another_connection_of_a_user_is_no_news),
		cmocka_unit_test(of_a_large_one_tells_the_numbers_alone),
		cmocka_unit_test(one_that_becomes_large_or_small_is_told_whole),
		cmocka_unit_test(keeps_who_may_only_be_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
