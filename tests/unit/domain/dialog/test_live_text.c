#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "domain/dialog/live_text.h"

#define WALL_US INT64_C(1800000000123456)
#define TIME "\"timestamp\":\"2027-01-15T08:00:00.123Z\""

static void assert_said(struct buf *out, const char *expected)
{
	assert_true(buf_ok(out));
	assert_string_equal(out->bytes, expected);
	buf_free(out);
}

static void greets_and_says_how_often_it_beats(void **state)
{
	struct uuid id = {.bytes = {1}};
	struct buf out = BUF_EMPTY;

	(void)state;
	live_text_established(&out, &id, 30, WALL_US);
	assert_said(&out, "{\"type\":\"connection_established\",\"data\":{\"connection_id\":\"01000000-0000-0000-0000-"
			  "000000000000\",\"state\":\"connected\",\"heartbeat_interval\":30}," TIME "}");
}

static void tells_who_the_user_is_and_until_when(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	live_text_authenticated(&out, "456", "user", 1800000000, "chat", "\"a\"", WALL_US);
	assert_said(&out,
		    "{\"type\":\"authenticated\",\"data\":{\"user_id\":456,\"role\":\"user\",\"expires_at\":\"2027-01-"
		    "15T08:00:00.000Z\",\"state\":\"authenticated\",\"subscriptions\":[\"chat\"]}," TIME
		    ",\"correlation_id\":\"a\"}");
	live_text_authenticated(&out, "ada", "admin", 0, NULL, NULL, WALL_US);
	assert_said(&out,
		    "{\"type\":\"authenticated\",\"data\":{\"user_id\":\"ada\",\"role\":\"admin\",\"expires_at\":null,"
		    "\"state\":\"authenticated\",\"subscriptions\":[]}," TIME "}");
}

static void tells_the_place_of_a_subscription(void **state)
{
	struct resume_point place = {.topic = "health/456", .epoch = "e", .seq = 9, .missed_from = 3, .missed_to = 9};
	struct buf out = BUF_EMPTY;

	(void)state;
	live_text_subscribed(&out, "health_updates", &place, "\"\\u00e4\"", WALL_US);
	assert_said(&out,
		    "{\"type\":\"subscribed\",\"data\":{\"subscription\":\"health_updates\",\"topic\":\"health/456\","
		    "\"cursor\":\"e-9\",\"recovered\":false,\"resumed_by\":\"queue\",\"missed\":{\"from\":3,\"to\":9}}"
		    "," TIME ",\"correlation_id\":\"\\u00e4\"}");
	live_text_unsubscribed(&out, "chat", "chats/456", "revoked", NULL, WALL_US);
	assert_said(&out,
		    "{\"type\":\"unsubscribed\",\"data\":{\"subscription\":\"chat\",\"topic\":\"chats/456\",\"reason\":"
		    "\"revoked\"}," TIME "}");
}

static void escapes_what_a_client_has_called_something(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	live_text_unsubscribed(&out, "a\"b\n", NULL, NULL, NULL, WALL_US);
	assert_said(&out, "{\"type\":\"unsubscribed\",\"data\":{\"subscription\":\"a\\\"b\\u000a\"}," TIME "}");
	live_text_error(&out, "forbidden", "Not \"that\".", NULL, NULL, WALL_US);
	assert_said(&out,
		    "{\"type\":\"error\",\"data\":{\"code\":\"forbidden\",\"message\":\"Not \\\"that\\\".\"}," TIME
		    "}");
}

static void lists_in_its_data_what_was_wrong(void **state)
{
	struct problem wrong = PROBLEM_NONE;
	struct buf out = BUF_EMPTY;

	(void)state;
	problem_add_field(&wrong, "", "hihg", "is not known here");
	live_text_error(&out, "invalid_message", "Wrong.", &wrong, "7", WALL_US);
	assert_said(&out,
		    "{\"type\":\"error\",\"data\":{\"code\":\"invalid_message\",\"message\":\"Wrong.\",\"errors\":"
		    "[{\"field\":\"hihg\",\"message\":\"is not known here\"}]}," TIME ",\"correlation_id\":7}");
	problem_free(&wrong);
}

static void says_when_there_is_room_for_more(void **state)
{
	struct buf out = BUF_EMPTY;
	char wanted[256];

	(void)state;
	live_text_over_quota(&out, "7", WALL_US);
	snprintf(wanted, sizeof(wanted),
		 "{\"type\":\"error\",\"data\":{\"code\":\"quota_exceeded\",\"message\":\"You may have no more stored "
		 "today.\",\"retry_after\":%lld}," TIME ",\"correlation_id\":7}",
		 (long long)clock_day_left_s(WALL_US));
	assert_said(&out, wanted);
}

static void says_the_rest(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	live_text_pong(&out, "\"p\"", WALL_US);
	assert_said(&out, "{\"type\":\"pong\",\"data\":{}," TIME ",\"correlation_id\":\"p\"}");
	live_text_heartbeat(&out, WALL_US);
	assert_said(&out, "{\"type\":\"heartbeat\",\"data\":{}," TIME "}");
	live_text_token_refreshed(&out, 1800000000, NULL, WALL_US);
	assert_said(&out,
		    "{\"type\":\"token_refreshed\",\"data\":{\"expires_at\":\"2027-01-15T08:00:00.000Z\"}," TIME "}");
	/* The last second of which RFC 3339 knows. */
	live_text_token_refreshed(&out, INT64_C(253402300799), NULL, WALL_US);
	assert_said(&out,
		    "{\"type\":\"token_refreshed\",\"data\":{\"expires_at\":\"9999-12-31T23:59:59.000Z\"}," TIME "}");
	live_text_token_expiring(&out, 59, WALL_US);
	assert_said(&out, "{\"type\":\"token_expiring\",\"data\":{\"expires_in\":59}," TIME "}");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(greets_and_says_how_often_it_beats),
		cmocka_unit_test(tells_who_the_user_is_and_until_when),
		cmocka_unit_test(tells_the_place_of_a_subscription),
		cmocka_unit_test(escapes_what_a_client_has_called_something),
		cmocka_unit_test(lists_in_its_data_what_was_wrong),
		cmocka_unit_test(says_when_there_is_room_for_more),
		cmocka_unit_test(says_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
