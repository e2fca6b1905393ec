#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "domain/input/broadcast.h"

#define NOW_US (INT64_C(1795255200) * 1000000) /* 2026-11-21T10:00:00Z */
#define NOW "2026-11-21T10:00:00.000Z"

static struct publications read_right(enum broadcast_kind kind, const char *body)
{
	struct publications p = PUBLICATIONS_NONE;
	struct problem problem = PROBLEM_NONE;
	enum err e = broadcast_read(kind, (struct span){body, strlen(body)}, NOW_US, &p, &problem);

	if (e != OK) {
		struct buf out = BUF_EMPTY;

		problem_write(&out, &problem);
		fail_msg("%s: %s", body, out.bytes);
	}
	return p;
}

static void assert_body(enum broadcast_kind kind, const char *body, const char *message)
{
	struct publications p = read_right(kind, body);

	assert_int_equal(p.count, 1);
	assert_string_equal(p.items[0].body.bytes, message);
	publications_free(&p);
}

/* Refused with this status, and with exactly these fields, each as `"field":"name"`. */
static void assert_refused(enum broadcast_kind kind, const char *body, int status, const char *const *fields,
			   size_t count)
{
	struct publications p = PUBLICATIONS_NONE;
	struct problem problem = PROBLEM_NONE;

	assert_int_equal(broadcast_read(kind, (struct span){body, strlen(body)}, NOW_US, &p, &problem), ERR_INPUT);
	assert_int_equal(problem.status, status);
	assert_non_null(problem.detail);
	assert_null(p.items);
	if (problem.errors_count != count)
		fail_msg("%s: %s", body, problem.errors.bytes ? problem.errors.bytes : "no errors");
	for (size_t i = 0; i < count; i++) {
		char wanted[100];

		snprintf(wanted, sizeof(wanted), "\"field\":\"%s\"", fields[i]);
		if (!strstr(problem.errors.bytes, wanted))
			fail_msg("%s: %s is not in %s", body, wanted, problem.errors.bytes);
	}
	problem_free(&problem);
}

#define REFUSED(kind, body, ...)                                            \
	do {                                                                \
		static const char *const fields[] = {__VA_ARGS__};          \
		assert_refused(kind, body, 422, fields, ARRAY_LEN(fields)); \
	} while (0)

static void makes_a_recommendation_update(void **state)
{
	(void)state;
	assert_body(
		BROADCAST_RECOMMENDATION,
		"{\"diagnosis_id\": 123, \"old_data\": {\"herb\":\"Ginger\",\"dosage\":\"1g\",\"frequency\":\"2x\"},\n"
		" \"new_data\": {\"dosage\":\"1g\",\"new\":0.10,\"herb\":\"Turmeric\"}, \"reason\": \"caf\\u00e9\", "
		"\"more\": 1}",
		"{\"type\":\"recommendation_update\",\"topic\":\"diagnosis/"
		"123\",\"diagnosis_id\":123,\"timestamp\":\"" NOW "\",\"data\":{"
		"\"old_recommendation\":{\"herb\":\"Ginger\",\"dosage\":\"1g\",\"frequency\":\"2x\"},"
		"\"new_recommendation\":{\"dosage\":\"1g\",\"new\":0.10,\"herb\":\"Turmeric\"},\"reason\":"
		"\"caf\\u00e9\","
		"\"changed_fields\":[\"new\",\"herb\",\"frequency\"],\"timestamp\":\"" NOW "\"}}");
}

static void names_changed_fields_by_value(void **state)
{
	struct publications p = read_right(
		BROADCAST_RECOMMENDATION,
		"{\"diagnosis_id\":1,\"reason\":\"\","
		"\"old_data\":{\"same\":{\"a\":1,\"b\":2},\"number\":1,\"huge\":123456789012345678901,\"huger\":"
		"123456789012345678901,"
		"\"deep\":[{\"n\":123456789012345678901}],\"power\":1e400,\"small\":1e-400,\"half\":0.5,\"big\":1e22,"
		"\"null\":null,\"gone \\\"q\\\"\":1},"
		"\"new_data\":{\"huger\":123456789012345678902,\"huge\":123456789012345678901,\"number\":1.0,"
		"\"same\":{\"b\":2,\"a\":1},\"null\":null,\"null too\":null,"
		"\"deep\":[{\"n\":123456789012345678901.0}],\"power\":1e500,\"small\":0,\"half\":0.50,"
		"\"big\":10000000000000000000000}}");

	(void)state;
	assert_non_null(strstr(p.items[0].body.bytes,
			       "\"changed_fields\":[\"huger\",\"null too\",\"power\",\"small\",\"gone \\\"q\\\"\"]"));
	publications_free(&p);
}

static void makes_an_effectiveness_update_that_the_database_can_add_to(void **state)
{
	struct publications p =
		read_right(BROADCAST_EFFECTIVENESS,
			   "{\"diagnosis_id\":123,\"recommendation_id\":789,\"new_effectiveness\":0.850,"
			   "\"confidence\":1,\"sample_size\":150,\"herb\":\"Ginger\",\"old_effectiveness\":0.72}");

	(void)state;
	assert_string_equal(p.items[0].topic, "diagnosis/123");
	assert_string_equal(
		p.items[0].body.bytes,
		"{\"type\":\"effectiveness_update\",\"topic\":\"diagnosis/"
		"123\",\"diagnosis_id\":123,\"timestamp\":\"" NOW "\",\"data\":{"
		"\"recommendation_id\":789,\"herb\":\"Ginger\",\"new_effectiveness\":0.850,\"confidence\":1,"
		"\"sample_size\":150}}");
	assert_int_equal(p.items[0].effect_id, 789);
	assert_string_equal(p.items[0].effect_value, "0.850");
	assert_string_equal(p.items[0].effect_old, "0.72");
	publications_free(&p);
}

static void gives_the_database_decimals_that_it_can_take(void **state)
{
	struct publications p = read_right(
		BROADCAST_EFFECTIVENESS, "{\"diagnosis_id\":1,\"recommendation_id\":2,\"new_effectiveness\":1e-100000,"
					 "\"confidence\":0,\"sample_size\":0,"
					 "\"old_effectiveness\":0.33333333333333333333333333333333333333333333333}");

	(void)state;
	assert_string_equal(p.items[0].effect_value, "0");
	assert_string_equal(p.items[0].effect_old, "0.333333333333333");
	publications_free(&p);
}

static void takes_ids_of_nineteen_digits(void **state)
{
	struct publications p = read_right(
		BROADCAST_FEEDBACK, "{\"diagnosis_id\":1285704473650888702,\"feedback_id\":9223372036854775807,"
				    "\"rating\":5,\"effectiveness\":1,\"recommendation_id\":1000000000000000000}");

	(void)state;
	assert_string_equal(p.items[0].topic, "diagnosis/1285704473650888702");
	assert_non_null(strstr(p.items[0].body.bytes, "\"diagnosis_id\":1285704473650888702,"));
	assert_non_null(strstr(p.items[0].body.bytes,
			       "\"feedback_id\":9223372036854775807,\"recommendation_id\":1000000000000000000,"));
	publications_free(&p);
	publications_free(&p); /* leaves nothing to free */
	assert_int_equal(p.count, 0);
}

static void makes_a_feedback_update(void **state)
{
	struct publications p = read_right(
		BROADCAST_FEEDBACK, "{\"diagnosis_id\":123,\"feedback_id\":999,\"rating\":5,\"effectiveness\":0.95,"
				    "\"recommendation_id\":789,\"comment\":\"Herb worked\",\"to_user_id\":456,"
				    "\"exclude_connection_id\":\"0F0F0F0F-aaaa-4bbb-8ccc-123456789abc\"}");

	(void)state;
	assert_string_equal(
		p.items[0].body.bytes,
		"{\"type\":\"feedback_update\",\"topic\":\"diagnosis/123\",\"diagnosis_id\":123,\"timestamp\":\"" NOW
		"\",\"data\":{"
		"\"feedback_id\":999,\"recommendation_id\":789,\"rating\":5,\"effectiveness\":0.95,"
		"\"comment\":\"Herb worked\",\"timestamp\":\"" NOW "\"}}");
	assert_string_equal(p.items[0].to_user, "456");
	assert_string_equal(p.items[0].exclude, "0f0f0f0f-aaaa-4bbb-8ccc-123456789abc");
	publications_free(&p);
}

static void an_optional_null_is_not_given(void **state)
{
	struct publications p =
		read_right(BROADCAST_FEEDBACK,
			   "{\"diagnosis_id\":1,\"feedback_id\":9,\"rating\":1,\"effectiveness\":0,\"comment\":null,"
			   "\"to_user_id\":null,\"exclude_connection_id\":null,\"recommendation_id\":null}");

	(void)state;
	assert_null(strstr(p.items[0].body.bytes, "comment"));
	assert_string_equal(p.items[0].to_user, "");
	assert_string_equal(p.items[0].exclude, "");
	publications_free(&p);
}

static void lists_all_that_is_wrong_at_once(void **state)
{
	(void)state;
	REFUSED(BROADCAST_RECOMMENDATION, "{}", "diagnosis_id", "old_data", "new_data", "reason");
	REFUSED(BROADCAST_RECOMMENDATION, "{\"diagnosis_id\":\"1\",\"old_data\":[],\"new_data\":null,\"reason\":5}",
		"diagnosis_id", "old_data", "new_data", "reason");
	REFUSED(BROADCAST_EFFECTIVENESS,
		"{\"diagnosis_id\":0,\"recommendation_id\":-1,\"new_effectiveness\":1.01,\"confidence\":-0.1,\"sample_"
		"size\":1.5,"
		"\"herb\":{},\"old_effectiveness\":\"0.5\"}",
		"diagnosis_id", "recommendation_id", "new_effectiveness", "confidence", "sample_size", "herb",
		"old_effectiveness");
	REFUSED(BROADCAST_FEEDBACK,
		"{\"diagnosis_id\":9223372036854775808,\"feedback_id\":1.0,\"rating\":6,\"effectiveness\":1e400,"
		"\"exclude_connection_id\":\"x\",\"to_user_id\":\"\"}",
		"diagnosis_id", "feedback_id", "rating", "effectiveness", "exclude_connection_id", "to_user_id");
	REFUSED(BROADCAST_FEEDBACK, "{\"diagnosis_id\":true,\"feedback_id\":1,\"rating\":5.0,\"effectiveness\":true}",
		"diagnosis_id", "rating", "effectiveness");
	REFUSED(BROADCAST_FEEDBACK, "[]", "body");
	REFUSED(BROADCAST_FEEDBACK, "null", "body");
}

static void counts_characters_not_bytes(void **state)
{
	struct buf body = BUF_EMPTY;
	struct publications p = PUBLICATIONS_NONE;

	(void)state;
	buf_add_text(&body, "{\"diagnosis_id\":1,\"old_data\":{},\"new_data\":{},\"reason\":\"");
	for (int i = 0; i < 4000; i++)
		buf_add_text(&body, "\xc3\xa9");
	buf_add_text(&body, "\"}");
	p = read_right(BROADCAST_RECOMMENDATION, body.bytes);
	publications_free(&p);
	body.len -= 2;
	buf_add_text(&body, "x\"}");
	REFUSED(BROADCAST_RECOMMENDATION, body.bytes, "reason");
	buf_free(&body);
}

static void refuses_what_is_no_json_with_400(void **state)
{
	(void)state;
	assert_refused(BROADCAST_PUBLISH, "{", 400, NULL, 0);
	assert_refused(BROADCAST_FEEDBACK, "{\"a\":1,\"a\":2}", 400, NULL, 0);
	assert_refused(BROADCAST_FEEDBACK, "", 400, NULL, 0);
}

static void publishes_anything_as_it_was_written(void **state)
{
	(void)state;
	assert_body(BROADCAST_PUBLISH,
		    "{\"data\": [1.50, 123456789012345678901234567890, {\"a\" : \"b "
		    "c\"}],\"type\":\"hello\",\"topic\":\"news\"}",
		    "{\"type\":\"hello\",\"topic\":\"news\",\"timestamp\":\"" NOW
		    "\",\"data\":[1.50,123456789012345678901234567890,{\"a\":\"b c\"}]}");
	assert_body(BROADCAST_PUBLISH,
		    "{\"topic\":\"diagnosis/"
		    "123\",\"type\":\"x\",\"data\":null,\"priority\":\"high\",\"correlation_id\":\"c 1\"}",
		    "{\"type\":\"x\",\"topic\":\"diagnosis/123\",\"diagnosis_id\":123,\"timestamp\":\"" NOW
		    "\",\"priority\":\"high\",\"correlation_id\":\"c 1\",\"data\":null}");
}

static void takes_a_list(void **state)
{
	struct publications p =
		read_right(BROADCAST_PUBLISH,
			   "[{\"topic\":\"a\",\"type\":\"t\",\"data\":1,\"ephemeral\":true},"
			   "{\"topic\":\"b\",\"type\":\"t\",\"data\":2,\"deliver_at\":\"2026-11-21T12:00:00+01:00\","
			   "\"expires_at\":\"2026-11-21T11:00:01Z\"},"
			   "{\"topic\":\"c\",\"type\":\"t\",\"data\":3,\"deliver_at\":\"2020-01-01T00:00:00Z\"}]");

	(void)state;
	assert_int_equal(p.count, 3);
	assert_true(p.items[0].ephemeral);
	assert_string_equal(p.items[0].deliver_at, "");
	assert_false(p.items[1].ephemeral);
	assert_string_equal(p.items[1].topic, "b");
	assert_string_equal(p.items[1].deliver_at, "2026-11-21T11:00:00.000Z");
	assert_string_equal(p.items[1].expires_at, "2026-11-21T11:00:01.000Z");
	assert_string_equal(p.items[2].deliver_at, ""); /* in the past: now */
	publications_free(&p);
}

static void names_the_item_that_is_wrong(void **state)
{
	(void)state;
	REFUSED(BROADCAST_PUBLISH, "[{\"topic\":\"a\",\"type\":\"t\",\"data\":1},{\"topic\":\"a b\",\"type\":\"\"},7]",
		"[1].topic", "[1].type", "[1].data", "[2]");
	REFUSED(BROADCAST_PUBLISH, "[]", "body");
	REFUSED(BROADCAST_PUBLISH, "7", "body");
}

static void refuses_times_that_cannot_be(void **state)
{
	(void)state;
	REFUSED(BROADCAST_PUBLISH, "{\"topic\":\"a\",\"type\":\"t\",\"data\":1,\"deliver_at\":\"tomorrow\"}",
		"deliver_at");
	REFUSED(BROADCAST_PUBLISH,
		"{\"topic\":\"a\",\"type\":\"t\",\"data\":1,\"deliver_at\":\"2027-12-01T00:00:00Z\"}", "deliver_at");
	REFUSED(BROADCAST_PUBLISH, "{\"topic\":\"a\",\"type\":\"t\",\"data\":1,\"expires_at\":\"" NOW "\"}",
		"expires_at");
	REFUSED(BROADCAST_PUBLISH,
		"{\"topic\":\"a\",\"type\":\"t\",\"data\":1,\"deliver_at\":\"2026-11-22T00:00:00Z\","
		"\"expires_at\":\"2026-11-21T12:00:00Z\"}",
		"expires_at");
	REFUSED(BROADCAST_PUBLISH,
		"{\"topic\":\"a\",\"type\":\"t\",\"data\":1,\"ephemeral\":true,\"deliver_at\":\"2026-11-22T00:00:00Z\","
		"\"priority\":\"urgent\"}",
		"priority");
	REFUSED(BROADCAST_PUBLISH,
		"{\"topic\":\"a\",\"type\":\"t\",\"data\":1,\"ephemeral\":true,\"deliver_at\":\"2026-11-22T00:00:"
		"00Z\"}",
		"deliver_at");
}

static void refuses_an_ephemeral_message_that_a_notification_cannot_hold(void **state)
{
	static const char begin[] = "{\"topic\":\"a\",\"type\":\"t\",\"ephemeral\":true,\"data\":\"";
	struct buf body = BUF_EMPTY;
	struct publications p = read_right(BROADCAST_PUBLISH, "{\"topic\":\"a\",\"type\":\"t\",\"data\":\"\"}");
	size_t around = p.items[0].body.len;

	(void)state;
	publications_free(&p);
	buf_add_text(&body, begin);
	for (size_t i = around; i < EPHEMERAL_MAX_BYTES; i++)
		buf_add_text(&body, "x");
	buf_add_text(&body, "\"}");
	p = read_right(BROADCAST_PUBLISH, body.bytes);
	assert_int_equal(p.items[0].body.len, EPHEMERAL_MAX_BYTES);
	publications_free(&p);
	body.len -= 2;
	buf_add_text(&body, "x\"}");
	REFUSED(BROADCAST_PUBLISH, body.bytes, "data");
	buf_free(&body);
}

static void takes_500_items_and_no_more(void **state)
{
	struct publications p = PUBLICATIONS_NONE;
	struct buf body = BUF_EMPTY;

	(void)state;
	buf_add_text(&body, "[");
	for (int i = 0; i < BATCH_ITEMS_MAX; i++)
		buf_printf(&body, "%s{\"topic\":\"t/%d\",\"type\":\"t\",\"data\":%d}", i ? "," : "", i, i);
	buf_add_text(&body, "]");
	p = read_right(BROADCAST_PUBLISH, body.bytes);
	assert_int_equal(p.count, BATCH_ITEMS_MAX);
	assert_string_equal(p.items[499].topic, "t/499");
	publications_free(&p);
	body.len--;
	buf_add_text(&body, ",{\"topic\":\"t\",\"type\":\"t\",\"data\":1}]");
	REFUSED(BROADCAST_PUBLISH, body.bytes, "body");
	buf_free(&body);
}

static void replies_as_the_quick_reference_says(void **state)
{
	struct publications p = read_right(BROADCAST_FEEDBACK,
					   "{\"diagnosis_id\":123,\"feedback_id\":9,\"rating\":1,\"effectiveness\":0}");
	const struct publish_result result = {.outcome = PUBLISH_OK, .seq = 7, .clients = 3};
	struct buf out = BUF_EMPTY;

	(void)state;
	broadcast_write_reply(&out, BROADCAST_FEEDBACK, &p, &result);
	assert_string_equal(out.bytes,
			    "{\"status\":\"broadcasted\",\"diagnosis_id\":123,\"clients_notified\":3,\"seq\":7}");
	buf_free(&out);
	publications_free(&p);
}

static void names_in_its_reply_what_nothing_was_done_with(void **state)
{
	static const struct publish_result results[] = {{.seq = 7, .clients = 1}, {.seq = 1}};
	struct publications p = read_right(BROADCAST_FEEDBACK, "{\"diagnosis_id\":123,\"recomendation_id\":7,"
							       "\"feedback_id\":9,\"rating\":1,\"effectiveness\":0,"
							       "\"a\\\"b\":{\"c\":1}}");
	struct buf out = BUF_EMPTY;

	(void)state;
	broadcast_write_reply(&out, BROADCAST_FEEDBACK, &p, results);
	assert_string_equal(out.bytes,
			    "{\"status\":\"broadcasted\",\"diagnosis_id\":123,\"clients_notified\":1,\"seq\":7,"
			    "\"ignored\":[\"recomendation_id\",\"a\\\"b\"]}");
	publications_free(&p);
	buf_clear(&out);
	p = read_right(BROADCAST_PUBLISH,
		       "[{\"topic\":\"a\",\"type\":\"t\",\"data\":{\"x\":1}},"
		       "{\"topic\":\"b\",\"type\":\"t\",\"data\":1,\"dilver_at\":\"2026-11-22T00:00:00Z\"}]");
	broadcast_write_reply(&out, BROADCAST_PUBLISH, &p, results);
	assert_non_null(strstr(out.bytes, "],\"ignored\":[\"[1].dilver_at\"]}"));
	publications_free(&p);
	buf_free(&out);
}

static void refuses_topics_and_types_that_are_not_a_publishers(void **state)
{
	(void)state;
	REFUSED(BROADCAST_PUBLISH, "{\"topic\":\"diagnosis/0123\",\"type\":\"error\",\"data\":1}", "topic", "type");
	REFUSED(BROADCAST_PUBLISH,
		"[{\"topic\":\"a\",\"type\":\"t\",\"data\":1},"
		"{\"topic\":\"Health/1\",\"type\":\"connect\",\"data\":1}]",
		"[1].topic", "[1].type");
}

static void replies_with_a_result_per_item(void **state)
{
	struct publications p =
		read_right(BROADCAST_PUBLISH, "[{\"topic\":\"a\",\"type\":\"t\",\"data\":1},"
					      "{\"topic\":\"b\",\"type\":\"t\",\"data\":1,\"ephemeral\":true}]");
	const struct publish_result results[] = {{.seq = 9, .clients = 1}, {.seq = 0, .clients = 2}};
	struct buf out = BUF_EMPTY;

	(void)state;
	broadcast_write_reply(&out, BROADCAST_PUBLISH, &p, results);
	assert_string_equal(
		out.bytes,
		"{\"status\":\"broadcasted\",\"results\":[{\"topic\":\"a\",\"seq\":9,\"clients_notified\":1},"
		"{\"topic\":\"b\",\"seq\":null,\"clients_notified\":2}]}");
	buf_free(&out);
	publications_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makes_a_recommendation_update),
		cmocka_unit_test(names_changed_fields_by_value),
		cmocka_unit_test(makes_an_effectiveness_update_that_the_database_can_add_to),
		cmocka_unit_test(gives_the_database_decimals_that_it_can_take),
		cmocka_unit_test(takes_ids_of_nineteen_digits),
		cmocka_unit_test(makes_a_feedback_update),
		cmocka_unit_test(an_optional_null_is_not_given),
		cmocka_unit_test(lists_all_that_is_wrong_at_once),
		cmocka_unit_test(counts_characters_not_bytes),
		cmocka_unit_test(refuses_what_is_no_json_with_400),
		cmocka_unit_test(publishes_anything_as_it_was_written),
		cmocka_unit_test(takes_a_list),
		cmocka_unit_test(names_the_item_that_is_wrong),
		cmocka_unit_test(refuses_times_that_cannot_be),
		cmocka_unit_test(refuses_an_ephemeral_message_that_a_notification_cannot_hold),
		cmocka_unit_test(takes_500_items_and_no_more),
		cmocka_unit_test(replies_as_the_quick_reference_says),
		cmocka_unit_test(names_in_its_reply_what_nothing_was_done_with),
		cmocka_unit_test(refuses_topics_and_types_that_are_not_a_publishers),
		cmocka_unit_test(replies_with_a_result_per_item),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
