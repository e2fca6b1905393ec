#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/dialog/dialog.h"

#define WALL_US INT64_C(1800000000123456)
#define TIME "2027-01-15T08:00:00.123Z"
#define PONG "{\"type\":\"pong\",\"diagnosis_id\":123,\"data\":{\"timestamp\":\"" TIME "\"}}"
#define ERROR_OF(code, message) \
	"{\"type\":\"error\",\"diagnosis_id\":123,\"data\":{\"code\":\"" code "\",\"message\":\"" message "\"}}"
#define NO_OBJECT ERROR_OF("invalid_message", "A message must be a JSON object.")
#define WRONG(field, message)                                                                          \
	"{\"type\":\"error\",\"diagnosis_id\":123,\"data\":{\"code\":\"invalid_message\",\"message\":" \
	"\"Some of what was sent is missing or wrong: see errors.\",\"errors\":[{\"field\":\"" field   \
	"\",\"message\":\"" message "\"}]}}"
#define NO_SEQ WRONG("seq", "is required")
#define BAD_SEQ WRONG("seq", "must be an integer from 0 to 9223372036854775807")
#define NO_TOKEN WRONG("token", "is required")
#define BAD_TOKEN WRONG("token", "must be text of 1 to 8,192 bytes")
#define NO_TYPE WRONG("type", "is required")
#define BAD_TYPE WRONG("type", "must be text of 1 to 128 characters")
#define UNKNOWN ERROR_OF("unknown_type", "There is no such type of message here.")
#define LIMITED ERROR_OF("rate_limited", "Too many messages: slow down.")

static const struct dialog_limits generous = {.rate_per_s = 0, .burst = 1, .bad_max = 1000};
static const struct dialog fresh = {.diagnosis_id = 123};

/* What is answered to one text; NULL stands for nothing. */
static enum dialog_verdict say(struct dialog *d, const struct dialog_limits *limits, const char *text, size_t len,
			       int64_t now_us, const char *expected)
{
	struct buf reply = BUF_EMPTY;
	enum dialog_verdict v = dialog_take(d, limits, dialog_cost(len), now_us)
					? dialog_receive(d, limits, (struct span){text, len}, now_us, WALL_US, &reply)
					: dialog_refuse_rate(d, limits, now_us, &reply);

	assert_true(buf_ok(&reply));
	assert_int_equal(reply.len, expected ? strlen(expected) : 0);
	if (expected)
		assert_string_equal(reply.bytes, expected);
	buf_free(&reply);
	return v;
}

static void assert_reply(const char *text, const char *expected)
{
	struct dialog d = fresh;

	assert_int_equal(say(&d, &generous, text, strlen(text), 0, expected), DIALOG_GO_ON);
}

static void assert_connect(const struct dialog_welcome *w, const char *expected)
{
	struct buf out = BUF_EMPTY;

	dialog_connect(&out, &fresh, w, WALL_US);
	assert_string_equal(out.bytes, expected);
	buf_free(&out);
}

#define CONNECT(user, rest)                                                                                     \
	"{\"type\":\"connect\",\"diagnosis_id\":123,\"data\":{\"user_id\":" user ",\"timestamp\":\"" TIME "\"," \
	"\"message\":\"Successfully connected to diagnosis updates\","                                          \
	"\"connection_id\":\"01000000-0000-0000-0000-000000000000\"," rest "}}"

static void greets_with_the_user_the_cursor_and_what_was_missed(void **state)
{
	struct resume_point point = {.topic = "diagnosis/123", .epoch = "abc", .seq = 7, .recovered = true};
	struct dialog_welcome w = {.connection_id = {.bytes = {1}}, .points = &point, .points_count = 1};

	(void)state;
	assert_connect(&w, CONNECT("null", "\"cursor\":\"abc-7\",\"recovered\":true,\"resumed_by\":\"queue\""));
	w.user_id = "456";
	assert_connect(&w, CONNECT("456", "\"cursor\":\"abc-7\",\"recovered\":true,\"resumed_by\":\"queue\""));
	w.user_id = "a\"b";
	point.recovered = false;
	point.seq = 0;
	assert_connect(&w, CONNECT("\"a\\\"b\"", "\"cursor\":\"abc-0\",\"recovered\":false,\"resumed_by\":\"queue\""));
	w.user_id = "0456";
	point.missed_from = 3;
	point.missed_to = 6;
	assert_connect(&w, CONNECT("\"0456\"", "\"cursor\":\"abc-0\",\"recovered\":false,\"resumed_by\":\"queue\","
					       "\"missed\":{\"from\":3,\"to\":6}"));
}

static void greets_who_named_topics_with_the_place_in_each(void **state)
{
	static const struct resume_point points[] = {
		{.topic = "a", .epoch = "e", .seq = 7, .recovered = true},
		{.topic = "b/c", .epoch = "f", .seq = 9, .recovered = false, .missed_from = 3, .missed_to = 9},
	};
	struct dialog_welcome w = {.connection_id = {.bytes = {1}}, .points = points, .points_count = 2};
	static const struct dialog d = {0};
	struct buf out = BUF_EMPTY;

	(void)state;
	dialog_connect(&out, &d, &w, WALL_US);
	assert_string_equal(
		out.bytes,
		"{\"type\":\"connect\",\"data\":{\"user_id\":null,\"timestamp\":\"" TIME
		"\",\"message\":\"Successfully "
		"connected to "
		"updates\",\"connection_id\":\"01000000-0000-0000-0000-000000000000\",\"cursor\":\"e-7.f-9\","
		"\"recovered\":false,\"resumed_by\":\"queue\",\"topics\":{\"a\":{\"cursor\":\"e-7\",\"recovered\":true,"
		"\"resumed_by\":\"queue\"},"
		"\"b/"
		"c\":{\"cursor\":\"f-9\",\"recovered\":false,\"resumed_by\":\"queue\",\"missed\":{\"from\":3,\"to\":9}}"
		"}}}");
	buf_clear(&out);
	dialog_missed_begin(&out, &d, "b/c", false);
	dialog_missed_end(&out);
	assert_string_equal(out.bytes,
			    "{\"type\":\"reconnect_messages\",\"topic\":\"b/c\",\"data\":{\"messages\":[]}}");
	buf_clear(&out);
	dialog_forbidden(&out, &d, "b/c", "This topic is not allowed.");
	assert_string_equal(out.bytes,
			    "{\"type\":\"error\",\"data\":{\"code\":\"forbidden\",\"message\":\"This topic is not "
			    "allowed.\",\"topic\":\"b/c\"}}");
	buf_free(&out);
}

static void gathers_what_was_missed_in_one_message(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	dialog_missed_begin(&out, &fresh, "diagnosis/123", false);
	dialog_missed_add(&out, true, (struct span){"{\"seq\":1}xx", 9});
	dialog_missed_add(&out, false, (struct span){"{\"seq\":2}", 9});
	dialog_missed_end(&out);
	assert_string_equal(out.bytes, "{\"type\":\"reconnect_messages\",\"diagnosis_id\":123,\"data\":{\"messages\":"
				       "[{\"seq\":1},{\"seq\":2}]}}");
	buf_free(&out);
}

static void answers_a_ping_as_text_and_as_json(void **state)
{
	(void)state;
	assert_reply("ping", PONG);
	assert_reply("{\"type\":\"ping\"}", PONG);
	assert_reply(" { \"x\" : [1] , \"type\" : \"p\\u0069ng\" } ", PONG);
}

static void takes_an_ack_without_a_word(void **state)
{
	(void)state;
	assert_reply("{\"type\":\"ack\",\"seq\":0}", NULL);
	assert_reply("{\"type\":\"ack\",\"seq\":9223372036854775807}", NULL);
	assert_reply("{\"seq\":5,\"type\":\"ack\",\"more\":null}", NULL);
}

static void refuses_an_ack_without_a_seq(void **state)
{
	(void)state;
	assert_reply("{\"type\":\"ack\"}", NO_SEQ);
	assert_reply("{\"type\":\"ack\",\"seq\":-1}", BAD_SEQ);
	assert_reply("{\"type\":\"ack\",\"seq\":\"1\"}", BAD_SEQ);
	assert_reply("{\"type\":\"ack\",\"seq\":1.5}", BAD_SEQ);
	assert_reply("{\"type\":\"ack\",\"seq\":9223372036854775808}", BAD_SEQ);
	assert_reply("{\"type\":\"ack\",\"seq\":null}", NO_SEQ);
	assert_reply("{\"type\":\"ack\",\"seq\":[1]}", BAD_SEQ);
}

static void says_what_it_does_not_know(void **state)
{
	(void)state;
	assert_reply("{\"type\":\"pong\"}", UNKNOWN);
	assert_reply("{\"type\":\"Ping\"}", UNKNOWN);
	assert_reply("{\"type\":\"\"}", BAD_TYPE);
	assert_reply("{\"type\":1}", BAD_TYPE);
	assert_reply("{\"type\":null}", NO_TYPE);
	assert_reply("{}", NO_TYPE);
}

static void refuses_what_is_no_json_object(void **state)
{
	static const char *const wrong[] = {
		"",
		" ",
		"pingping",
		"pin",
		"PING",
		"ping ",
		"null",
		"[]",
		"1",
		"\"ping\"",
		"{",
		"{\"type\":\"ping\"",
		"{\"type\":\"ping\"}}",
		"{\"type\":\"ping\",\"type\":\"ack\"}",
		"{\"type\":\"ping\\u0000\"}",
		"{'type':'ping'}",
	};
	struct dialog d = fresh;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_reply(wrong[i], NO_OBJECT);
	assert_int_equal(say(&d, &generous, NULL, 0, 0, NO_OBJECT), DIALOG_GO_ON);
	assert_int_equal(say(&d, &generous, "pin\0", 4, 0, NO_OBJECT), DIALOG_GO_ON);
	assert_int_equal(say(&d, &generous, "\xff", 1, 0, NO_OBJECT), DIALOG_GO_ON);
}

static void hands_over_the_token_that_authenticates(void **state)
{
	static const char text[] = "{\"type\":\"authenticate\",\"token\":\"a.b.c\"}";
	static const char named[] = "{\"type\":\"authenticate\",\"token\":\"a.b.c\",\"device\":\"phone\"}";
	struct dialog d = fresh;

	(void)state;
	assert_int_equal(say(&d, &generous, text, sizeof(text) - 1, 0, "a.b.c"), DIALOG_AUTHENTICATE);
	/* Whether it was good is for the caller to say. */
	assert_false(d.identified);
	assert_int_equal(d.bad.ready_us, 0);
	assert_string_equal(d.device, "");
	assert_int_equal(say(&d, &generous, named, sizeof(named) - 1, 0, "a.b.c"), DIALOG_AUTHENTICATE);
	assert_string_equal(d.device, "phone");
	assert_reply("{\"type\":\"authenticate\"}", NO_TOKEN);
	assert_reply("{\"type\":\"authenticate\",\"token\":null}", NO_TOKEN);
	assert_reply("{\"type\":\"authenticate\",\"token\":[\"a\"]}", BAD_TOKEN);
	assert_reply("{\"type\":\"authenticate\",\"token\":\"\"}", BAD_TOKEN);
}

static void tells_what_its_client_acks(void **state)
{
	static const char one[] = "{\"type\":\"ack\",\"seq\":7}",
			  of[] = "{\"type\":\"ack\",\"seq\":8,\"topic\":\"a/b\"}";
	struct dialog_ack ack;
	struct dialog d = fresh;

	(void)state;
	d.ack = &ack;
	assert_int_equal(say(&d, &generous, of, sizeof(of) - 1, 0, NULL), DIALOG_GO_ON);
	assert_int_equal(ack.seq, 8);
	assert_string_equal(ack.topic, "a/b");
	assert_int_equal(say(&d, &generous, one, sizeof(one) - 1, 0, NULL), DIALOG_GO_ON);
	assert_int_equal(ack.seq, 7);
	assert_string_equal(ack.topic, "");
}

static void authenticates_only_once(void **state)
{
	static const char text[] = "{\"type\":\"authenticate\",\"token\":\"a.b.c\"}";
	struct dialog d = fresh;

	(void)state;
	d.identified = true;
	assert_int_equal(say(&d, &generous, text, sizeof(text) - 1, 0,
			     ERROR_OF("already_authenticated", "This connection has its user.")),
			 DIALOG_GO_ON);
}

static void hands_over_what_changes_its_topics_where_its_request_named_them(void **state)
{
	static const char subscribe[] = "{\"type\":\"subscribe\",\"subscription\":\"a\"}";
	static const char unsubscribe[] = "{\"type\":\"unsubscribe\",\"subscription\":\"a\"}";
	struct dialog topics = {.identified = true}, stranger = {.identified = false}, diagnosis = fresh;

	(void)state;
	diagnosis.identified = true;
	assert_int_equal(say(&topics, &generous, subscribe, sizeof(subscribe) - 1, 0, NULL), DIALOG_TOPICS);
	assert_int_equal(topics.heard, DIALOG_SUBSCRIBE);
	assert_int_equal(say(&topics, &generous, unsubscribe, sizeof(unsubscribe) - 1, 0, NULL), DIALOG_TOPICS);
	assert_int_equal(topics.heard, DIALOG_UNSUBSCRIBE);
	assert_int_equal(say(&stranger, &generous, subscribe, sizeof(subscribe) - 1, 0,
			     "{\"type\":\"error\",\"data\":{\"code\":\"not_authenticated\",\"message\":\"Authenticate "
			     "first.\"}}"),
			 DIALOG_GO_ON);
	assert_int_equal(stranger.heard, DIALOG_NOTHING);
	assert_int_equal(say(&diagnosis, &generous, subscribe, sizeof(subscribe) - 1, 0, UNKNOWN), DIALOG_GO_ON);
}

static void answers_no_more_than_the_rate_allows(void **state)
{
	static const struct dialog_limits limits = {.rate_per_s = 10, .burst = 3, .bad_max = 1000};
	struct dialog d = fresh;
	int64_t now_us = 5000000;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(say(&d, &limits, "ping", 4, now_us, PONG), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "ping", 4, now_us, LIMITED), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "ping", 4, now_us + 99999, LIMITED), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "ping", 4, now_us + 100000, PONG), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "{\"type\":\"authenticate\",\"token\":\"a\"}", 35, now_us + 100000, LIMITED),
			 DIALOG_GO_ON);
}

static void a_message_costs_one_for_each_4_kib(void **state)
{
	static const struct dialog_limits limits = {.rate_per_s = 10, .burst = 20, .bad_max = 1000};
	struct dialog d = fresh;

	(void)state;
	assert_int_equal(dialog_cost(0), RATE_ONE);
	assert_int_equal(dialog_cost(4096), RATE_ONE);
	assert_true(dialog_take(&d, &limits, dialog_cost(65536), 0));
	assert_false(dialog_take(&d, &limits, dialog_cost(65536), 0));
	for (unsigned i = 0; i < 4; i++)
		assert_true(dialog_take(&d, &limits, dialog_cost(100), 0));
	assert_false(dialog_take(&d, &limits, dialog_cost(100), 0));
	/* What it has turned out to be as it was inflated. */
	dialog_charge(&d, &limits, dialog_cost(65536) - dialog_cost(100), 100000);
	assert_false(dialog_take(&d, &limits, dialog_cost(100), 1500000));
	assert_true(dialog_take(&d, &limits, dialog_cost(100), 1600000));
}

static void closes_after_too_many_bad_messages_without_a_reply(void **state)
{
	static const struct dialog_limits limits = {.rate_per_s = 0, .burst = 1, .bad_max = 3};
	struct dialog d = fresh;

	(void)state;
	assert_int_equal(say(&d, &limits, "x", 1, 0, NO_OBJECT), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "{}", 2, 0, NO_TYPE), DIALOG_GO_ON);
	/* A good one between them does not make up for them. */
	assert_int_equal(say(&d, &limits, "ping", 4, 0, PONG), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "{\"type\":\"ack\"}", 14, 0, NO_SEQ), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "x", 1, 0, NULL), DIALOG_TOO_MANY_BAD);
}

static void forgets_one_bad_message_each_minute(void **state)
{
	static const struct dialog_limits limits = {.rate_per_s = 0, .burst = 1, .bad_max = 2};
	static const int64_t minute_us = 60000000;
	struct dialog d = fresh;

	(void)state;
	for (int64_t minute = 0; minute < 100; minute++)
		assert_int_equal(say(&d, &limits, "x", 1, minute * minute_us, NO_OBJECT), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "x", 1, 99 * minute_us + 1, NO_OBJECT), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "x", 1, 100 * minute_us - 60, NULL), DIALOG_TOO_MANY_BAD);
}

static void a_flood_is_closed_too(void **state)
{
	static const struct dialog_limits limits = {.rate_per_s = 1, .burst = 1, .bad_max = 2};
	struct dialog d = fresh;

	(void)state;
	assert_int_equal(say(&d, &limits, "ping", 4, 0, PONG), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "ping", 4, 0, LIMITED), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "ping", 4, 0, LIMITED), DIALOG_GO_ON);
	assert_int_equal(say(&d, &limits, "ping", 4, 0, NULL), DIALOG_TOO_MANY_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greets_with_the_user_the_cursor_and_what_was_missed),
		cmocka_unit_test(greets_who_named_topics_with_the_place_in_each),
		cmocka_unit_test(gathers_what_was_missed_in_one_message),
		cmocka_unit_test(answers_a_ping_as_text_and_as_json),
		cmocka_unit_test(takes_an_ack_without_a_word),
		cmocka_unit_test(refuses_an_ack_without_a_seq),
		cmocka_unit_test(says_what_it_does_not_know),
		cmocka_unit_test(refuses_what_is_no_json_object),
		cmocka_unit_test(hands_over_the_token_that_authenticates),
		cmocka_unit_test(authenticates_only_once),
		cmocka_unit_test(tells_what_its_client_acks),
		cmocka_unit_test(hands_over_what_changes_its_topics_where_its_request_named_them),
		cmocka_unit_test(answers_no_more_than_the_rate_allows),
		cmocka_unit_test(a_message_costs_one_for_each_4_kib),
		cmocka_unit_test(closes_after_too_many_bad_messages_without_a_reply),
		cmocka_unit_test(forgets_one_bad_message_each_minute),
		cmocka_unit_test(a_flood_is_closed_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
