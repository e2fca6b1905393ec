#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "domain/dialog/act_reply.h"
#include "domain/input/client_message.h"

#define CONVERSATION "0f0f0f0f-aaaa-4bbb-8ccc-123456789abc"

struct reading {
	struct client_message message;
	struct client_fault fault;
	enum err e;
};

static void read_text(struct reading *r, const char *text)
{
	memset(r, 0, sizeof(*r));
	r->e = client_message_read(&r->message, (struct span){text, strlen(text)}, &r->fault);
}

static void release(struct reading *r)
{
	client_message_free(&r->message);
	problem_free(&r->fault.problem);
}

static void assert_taken(const struct reading *r, const char *text)
{
	struct buf out = BUF_EMPTY;

	if (r->e == OK)
		return;
	problem_write(&out, &r->fault.problem);
	fail_msg("%s: %s", text, out.bytes);
}

/* What an act's members become. */
static void assert_data(const char *text, enum client_type type, const char *data)
{
	struct reading r;

	read_text(&r, text);
	assert_taken(&r, text);
	assert_int_equal(r.message.type, type);
	assert_true(client_type_is_act(type));
	assert_string_equal(r.message.data.bytes, data);
	release(&r);
}

/* Refused because of this member alone. */
static void assert_refused(const char *text, const char *field)
{
	char wanted[100];
	struct reading r;

	read_text(&r, text);
	if (r.e != ERR_INPUT)
		fail_msg("%s is taken", text);
	assert_string_equal(r.fault.code, "invalid_message");
	assert_non_null(r.fault.sentence);
	assert_int_equal(r.fault.problem.status, 422);
	snprintf(wanted, sizeof(wanted), "{\"field\":\"%s\",\"message\":", field);
	if (!strstr(r.fault.problem.errors.bytes, wanted) || r.fault.problem.errors_count != 1)
		fail_msg("%s: %s", text, r.fault.problem.errors.bytes);
	assert_int_equal(r.message.data.len, 0);
	release(&r);
}

static void takes_every_act_with_all_that_it_may_have(void **state)
{
	static const struct {
		enum client_type type;
		const char *text, *data;
	} acts[] = {
		{CLIENT_ACK, "{\"type\":\"ack\",\"data\":{\"topic\":\"health/1\",\"seq\":7}}",
		 "{\"topic\":\"health/1\",\"seq\":7}"},
		{CLIENT_ACK, "{\"type\":\"ack\",\"data\":{\"id\":\"" CONVERSATION "\"}}",
		 "{\"id\":\"" CONVERSATION "\"}"},
		{CLIENT_CHAT_MESSAGE,
		 "{\"type\":\"chat_message\",\"data\":{\"message\":\"caf\\u00e9 au  lait\",\"conversation_id\":"
		 "\"" CONVERSATION "\",\"sender\":\"ai\"}}",
		 "{\"conversation_id\":\"" CONVERSATION "\",\"message\":\"caf\\u00e9 au  lait\",\"sender\":\"ai\"}"},
		{CLIENT_COMMENT_FEEDBACK,
		 "{\"type\":\"comment_feedback\",\"data\":{\"feedback_id\":9,\"comment\":\"\"}}",
		 "{\"feedback_id\":9,\"comment\":\"\"}"},
		{CLIENT_DECIDE_RECOMMENDATION,
		 "{\"type\":\"decide_recommendation\",\"data\":{\"recommendation_id\":8,\"status\":\"active\","
		 "\"reason\":\"\"}}",
		 "{\"recommendation_id\":8,\"status\":\"active\",\"reason\":\"\"}"},
		{CLIENT_GET_ANALYTICS, "{\"type\":\"get_analytics\",\"data\":{\"diagnosis_id\":1,\"days\":90}}",
		 "{\"diagnosis_id\":1,\"days\":90}"},
		{CLIENT_GET_EFFECTIVENESS,
		 "{\"type\":\"get_effectiveness\",\"data\":{\"recommendation_id\":1,\"days\":7}}",
		 "{\"recommendation_id\":1,\"days\":7}"},
		{CLIENT_GET_TRENDING,
		 "{\"type\":\"get_trending\",\"data\":{\"by\":\"herb\",\"condition\":\"c\",\"days\":30,\"sort\":"
		 "\"change\","
		 "\"limit\":100}}",
		 "{\"by\":\"herb\",\"condition\":\"c\",\"days\":30,\"sort\":\"change\",\"limit\":100}"},
		{CLIENT_GET_FEEDBACK,
		 "{\"type\":\"get_feedback\",\"data\":{\"diagnosis_id\":1,\"recommendation_id\":2,\"before\":3,"
		 "\"limit\":100}}",
		 "{\"diagnosis_id\":1,\"recommendation_id\":2,\"before\":3,\"limit\":100}"},
		{CLIENT_GET_RECOMMENDATIONS,
		 "{\"type\":\"get_recommendations\",\"data\":{\"diagnosis_id\":1,\"status\":\"active\",\"before\":3,"
		 "\"limit\":1}}",
		 "{\"diagnosis_id\":1,\"status\":\"active\",\"before\":3,\"limit\":1}"},
		{CLIENT_GET_MODELS, "{\"type\":\"get_models\"}", "{}"},
		{CLIENT_PREDICT, "{\"type\":\"predict\",\"data\":{\"diagnosis_id\":1}}", "{\"diagnosis_id\":1}"},
		{CLIENT_RATE_FEEDBACK,
		 "{\"type\":\"rate_feedback\",\"data\":{\"feedback_id\":9,\"rating\":4,\"effectiveness\":8e-1}}",
		 "{\"feedback_id\":9,\"rating\":4,\"effectiveness\":0.8}"},
		{CLIENT_RECOMMEND,
		 "{\"type\":\"recommend\",\"data\":{\"diagnosis_id\":1,\"herb\":\"Ginger\",\"condition\":\"c\","
		 "\"data\":{ \"n\": 1 },\"replaces\":7,\"reason\":\"\"}}",
		 "{\"diagnosis_id\":1,\"herb\":\"Ginger\",\"condition\":\"c\",\"data\":{\"n\":1},\"replaces\":7,"
		 "\"reason\":\"\"}"},
		{CLIENT_SUBMIT_FEEDBACK,
		 "{\"type\":\"submit_feedback\",\"data\":{\"diagnosis_id\":1,\"rating\":5,\"recommendation_id\":2,"
		 "\"effectiveness\":1e-99999,\"comment\":\"c\",\"user_id\":456}}",
		 "{\"diagnosis_id\":1,\"rating\":5,\"recommendation_id\":2,\"effectiveness\":0,\"comment\":\"c\","
		 "\"user_id\":\"456\"}"},
		{CLIENT_WITHDRAW_FEEDBACK, "{\"type\":\"withdraw_feedback\",\"data\":{\"feedback_id\":9}}",
		 "{\"feedback_id\":9}"},
		{CLIENT_CREATE_CONVERSATION,
		 "{\"type\":\"create_conversation\",\"data\":{\"participants\":[ \"ann\", 456 ],\"conversation_id\":"
		 "\"" CONVERSATION "\"}}",
		 "{\"participants\":[\"ann\",\"456\"],\"conversation_id\":\"" CONVERSATION "\"}"},
		{CLIENT_GET_HEALTH,
		 "{\"type\":\"get_health\",\"data\":{\"limit\":500,\"metric\":\"pulse\",\"since\":"
		 "\"2026-11-21T11:00:00+01:00\",\"user_id\":456}}",
		 "{\"metric\":\"pulse\",\"since\":\"2026-11-21T10:00:00.000Z\",\"limit\":500,\"user_id\":\"456\"}"},
		{CLIENT_GET_HISTORY,
		 "{\"type\":\"get_history\",\"data\":{\"conversation_id\":\"0F0F0F0F-AAAA-4BBB-8CCC-123456789ABC\","
		 "\"before\":17,\"limit\":1}}",
		 "{\"conversation_id\":\"" CONVERSATION "\",\"before\":17,\"limit\":1}"},
		{CLIENT_GET_NOTIFICATIONS,
		 "{\"type\":\"get_notifications\",\"data\":{\"unread_only\":true,\"limit\":100}}",
		 "{\"unread_only\":true,\"limit\":100}"},
		{CLIENT_GET_PREFERENCES, "{\"type\":\"get_preferences\"}", "{}"},
		{CLIENT_GET_THRESHOLDS, "{\"type\":\"get_thresholds\",\"data\":{\"user_id\":9223372036854775807}}",
		 "{\"user_id\":\"9223372036854775807\"}"},
		{CLIENT_GET_THRESHOLDS, "{\"type\":\"get_thresholds\",\"data\":{\"user_id\":\"x y\"}}",
		 "{\"user_id\":\"x y\"}"},
		{CLIENT_HEALTH_UPDATE,
		 "{\"type\":\"health_update\",\"data\":{\"metric\":\"blood_pressure\",\"value\":120,\"unit\":"
		 "\"mmHg\",\"timestamp\":\"2024-01-01T00:00:00Z\",\"user_id\":1}}",
		 "{\"metric\":\"blood_pressure\",\"value\":120,\"unit\":\"mmHg\",\"timestamp\":"
		 "\"2024-01-01T00:00:00.000Z\",\"user_id\":\"1\"}"},
		{CLIENT_JOIN,
		 "{\"type\":\"join\",\"data\":{\"conversation_id\":\"" CONVERSATION "\",\"user_id\":\"ann\"}}",
		 "{\"conversation_id\":\"" CONVERSATION "\",\"user_id\":\"ann\"}"},
		{CLIENT_MARK_READ, "{\"type\":\"mark_read\",\"data\":{\"id\":\"" CONVERSATION "\"}}",
		 "{\"id\":\"" CONVERSATION "\"}"},
		{CLIENT_SET_PREFERENCES,
		 "{\"type\":\"set_preferences\",\"data\":{\"types\":{ \"system\" : false },\"quiet_hours\":{\"start\":"
		 "\"22:00\",\"end\":\"07:00\",\"time_zone\":\"Europe/Berlin\"}}}",
		 "{\"types\":{\"system\":false},\"quiet_hours\":{\"start\":\"22:00\",\"end\":\"07:00\",\"time_zone\":"
		 "\"Europe/Berlin\"}}"},
		{CLIENT_SET_THRESHOLD,
		 "{\"type\":\"set_threshold\",\"data\":{\"metric\":\"pulse\",\"low\":40,\"high\":1.4e2,\"severity\":"
		 "\"critical\",\"user_id\":\"ann\"}}",
		 "{\"metric\":\"pulse\",\"low\":40,\"high\":140,\"severity\":\"critical\",\"user_id\":\"ann\"}"},
		{CLIENT_TYPING,
		 "{\"type\":\"typing\",\"data\":{\"conversation_id\":\"" CONVERSATION "\",\"is_typing\":false}}",
		 "{\"conversation_id\":\"" CONVERSATION "\",\"is_typing\":false}"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(acts); i++)
		assert_data(acts[i].text, acts[i].type, acts[i].data);
}

static void a_question_passes_over_members_that_it_does_not_have(void **state)
{
	(void)state;
	assert_data("{\"type\":\"get_health\",\"x\":1,\"data\":{\"x\":{\"limit\":1},\"limit\":5,\"token\":\"secret\"}}",
		    CLIENT_GET_HEALTH, "{\"limit\":5}");
	assert_data("{\"type\":\"get_preferences\",\"data\":{\"x\":1}}", CLIENT_GET_PREFERENCES, "{}");
}

/* A misspelt member was passed over: `"hihg"` left a threshold without bounds, which deleted it. */
static void what_changes_something_refuses_members_that_it_does_not_have(void **state)
{
	(void)state;
	assert_refused("{\"type\":\"set_threshold\",\"data\":{\"metric\":\"a\",\"low\":1,\"hihg\":2}}", "hihg");
	assert_refused("{\"type\":\"set_threshold\",\"metric\":\"a\",\"low\":1,\"hihg\":2}", "hihg");
	assert_refused("{\"type\":\"set_threshold\",\"high\":2,\"data\":{\"metric\":\"a\",\"low\":1}}", "high");
	assert_refused("{\"type\":\"mark_read\",\"data\":{\"id\":\"" CONVERSATION "\",\"x\":{\"id\":1}}}", "x");
	assert_refused("{\"type\":\"set_preferences\",\"data\":{\"quiet_hour\":null}}", "quiet_hour");
	assert_refused("{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1,\"untit\":\"x\"}}", "untit");
	assert_data("{\"type\":\"mark_read\",\"timestamp\":\"x\",\"correlation_id\":\"c\",\"id\":\"" CONVERSATION "\"}",
		    CLIENT_MARK_READ, "{\"id\":\"" CONVERSATION "\"}");
	assert_refused("{\"type\":\"submit_feedback\",\"data\":{\"diagnosis_id\":1,\"rating\":5,\"ratting\":4}}",
		       "ratting");
}

static void an_exact_question_refuses_them_too(void **state)
{
	(void)state;
	assert_refused("{\"type\":\"get_feedback\",\"data\":{\"diagnosis_id\":1,\"befor\":4}}", "befor");
	assert_refused("{\"type\":\"get_recommendations\",\"diagnosis_id\":1,\"x\":4}", "x");
	assert_false(client_type_changes_something(CLIENT_GET_FEEDBACK));
}

static void lists_unknown_members_beside_the_wrong_ones(void **state)
{
	struct reading r;

	(void)state;
	read_text(&r, "{\"type\":\"health_update\",\"data\":{\"metirc\":\"a\",\"value\":\"1\"}}");
	assert_int_equal(r.e, ERR_INPUT);
	assert_int_equal(r.fault.problem.errors_count, 3);
	assert_non_null(strstr(r.fault.problem.errors.bytes, "\"metric\",\"message\":\"is required\""));
	assert_non_null(strstr(r.fault.problem.errors.bytes, "\"metirc\",\"message\":\"is not known here\""));
	release(&r);
}

static void says_what_is_missing_where_nothing_is_found(void **state)
{
	(void)state;
	assert_string_equal(client_type_missing(CLIENT_BROADCAST_CHAT), "There is no such conversation.");
	assert_string_equal(client_type_missing(CLIENT_TYPING), "There is no such conversation.");
	assert_string_equal(client_type_missing(CLIENT_MARK_READ), "There is no such notification.");
	assert_string_equal(client_type_missing(CLIENT_BROADCAST_HEALTH), "There is no such user.");
	assert_string_equal(client_type_missing(CLIENT_RECOMMEND), "There is no such diagnosis.");
	assert_string_equal(client_type_missing(CLIENT_WITHDRAW_FEEDBACK), "There is no such feedback.");
	assert_string_equal(client_type_missing(CLIENT_DECIDE_RECOMMENDATION), "There is no such recommendation.");
	assert_string_equal(client_type_missing(CLIENT_GET_EFFECTIVENESS), "There is no such recommendation.");
	assert_string_equal(client_type_missing(CLIENT_GET_PREFERENCES), "There is no such user.");
}

static void looks_beside_data_when_that_is_not_there_or_empty(void **state)
{
	(void)state;
	assert_data("{\"type\":\"get_health\",\"limit\":5}", CLIENT_GET_HEALTH, "{\"limit\":5}");
	assert_data("{\"type\":\"get_health\",\"data\":null,\"limit\":5}", CLIENT_GET_HEALTH, "{\"limit\":5}");
	assert_data("{\"type\":\"get_health\",\"data\":{},\"limit\":5}", CLIENT_GET_HEALTH, "{\"limit\":5}");
	/* The message's own timestamp is not the reading's. */
	assert_data("{\"type\":\"health_update\",\"timestamp\":\"2026-11-21T10:00:00Z\",\"data\":{\"metric\":\"a\","
		    "\"value\":1}}",
		    CLIENT_HEALTH_UPDATE, "{\"metric\":\"a\",\"value\":1}");
	assert_refused("{\"type\":\"get_health\",\"data\":[5]}", "data");
	assert_refused("{\"type\":\"get_health\",\"data\":\"\"}", "data");
}

static void tells_null_that_takes_away_from_what_is_not_given(void **state)
{
	(void)state;
	assert_data("{\"type\":\"set_preferences\",\"data\":{\"quiet_hours\":null,\"types\":null}}",
		    CLIENT_SET_PREFERENCES, "{\"quiet_hours\":null}");
	assert_data("{\"type\":\"set_preferences\",\"data\":{\"types\":{}}}", CLIENT_SET_PREFERENCES, "{\"types\":{}}");
	assert_data("{\"type\":\"set_threshold\",\"data\":{\"metric\":\"a\",\"low\":null,\"high\":null}}",
		    CLIENT_SET_THRESHOLD, "{\"metric\":\"a\",\"low\":null,\"high\":null}");
	assert_data("{\"type\":\"set_threshold\",\"data\":{\"metric\":\"a\",\"low\":null,\"high\":2}}",
		    CLIENT_SET_THRESHOLD, "{\"metric\":\"a\",\"low\":null,\"high\":2}");
	assert_data("{\"type\":\"set_threshold\",\"data\":{\"metric\":\"a\",\"severity\":\"low\"}}",
		    CLIENT_SET_THRESHOLD, "{\"metric\":\"a\",\"severity\":\"low\"}");
	assert_refused("{\"type\":\"set_threshold\",\"data\":{\"metric\":\"a\"}}", "low");
	assert_refused("{\"type\":\"set_threshold\",\"data\":{\"metric\":\"a\",\"severity\":null}}", "low");
}

static void gives_the_database_numbers_that_it_can_take(void **state)
{
	static const struct {
		const char *written, *passed_on;
	} numbers[] = {
		{"0.850", "0.850"},
		{"-1", "-1"},
		{"1e-100000", "0"},
		{"1E3", "1000"},
		{"0.33333333333333333333333333333333333", "0.333333333333333"},
		{"1000000000000000", "1000000000000000"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		char text[200], data[200];

		snprintf(text, sizeof(text), "{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":%s}}",
			 numbers[i].written);
		snprintf(data, sizeof(data), "{\"metric\":\"a\",\"value\":%s}", numbers[i].passed_on);
		assert_data(text, CLIENT_HEALTH_UPDATE, data);
	}
}

static void refuses_what_is_missing_or_of_another_kind(void **state)
{
	static const struct {
		const char *text, *field;
	} wrong[] = {
		{"{\"type\":\"health_update\",\"data\":{\"value\":1}}", "metric"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"\",\"value\":1}}", "metric"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":\"1\"}}", "value"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1e16}}", "value"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1e999}}", "value"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1,\"unit\":5}}", "unit"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1,\"timestamp\":\"today\"}}",
		 "timestamp"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1,\"timestamp\":"
		 "\"0000-01-01T00:00:00Z\"}}",
		 "timestamp"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1,\"timestamp\":"
		 "\"0001-01-01T00:00:00+01:00\"}}",
		 "timestamp"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1,\"timestamp\":"
		 "\"9999-12-31T23:59:60Z\"}}",
		 "timestamp"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1,\"user_id\":1.5}}", "user_id"},
		/* json-c has rounded these: many users would be one. */
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1,\"user_id\":9223372036854775808}}",
		 "user_id"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1,\"user_id\":-9223372036854775809}"
		 "}",
		 "user_id"},
		{"{\"type\":\"health_update\",\"data\":{\"metric\":\"a\",\"value\":1,\"user_id\":100000000000000000000}"
		 "}",
		 "user_id"},
		{"{\"type\":\"set_threshold\",\"data\":{\"metric\":\"a\",\"low\":1,\"high\":1.0}}", "low"},
		{"{\"type\":\"set_threshold\",\"data\":{\"metric\":\"a\",\"low\":1.00000000000000000001,\"high\":1}}",
		 "low"},
		{"{\"type\":\"set_threshold\",\"data\":{\"metric\":\"a\",\"low\":\"1\"}}", "low"},
		{"{\"type\":\"set_threshold\",\"data\":{\"metric\":\"a\",\"severity\":\"dire\"}}", "severity"},
		{"{\"type\":\"get_health\",\"data\":{\"limit\":501}}", "limit"},
		{"{\"type\":\"get_health\",\"data\":{\"limit\":0}}", "limit"},
		{"{\"type\":\"get_history\",\"data\":{\"conversation_id\":\"" CONVERSATION "\",\"limit\":101}}",
		 "limit"},
		{"{\"type\":\"get_history\",\"data\":{\"conversation_id\":\"1\"}}", "conversation_id"},
		{"{\"type\":\"get_notifications\",\"data\":{\"unread_only\":1}}", "unread_only"},
		{"{\"type\":\"create_conversation\",\"data\":{}}", "participants"},
		{"{\"type\":\"create_conversation\",\"data\":{\"participants\":[]}}", "participants"},
		{"{\"type\":\"create_conversation\",\"data\":{\"participants\":\"ann\"}}", "participants"},
		{"{\"type\":\"create_conversation\",\"data\":{\"participants\":[\"ann\",null]}}", "participants"},
		{"{\"type\":\"create_conversation\",\"data\":{\"participants\":[\"ann\",[\"bob\"]]}}", "participants"},
		{"{\"type\":\"chat_message\",\"data\":{\"conversation_id\":\"" CONVERSATION "\",\"message\":\"\"}}",
		 "message"},
		{"{\"type\":\"typing\",\"data\":{\"conversation_id\":\"" CONVERSATION "\"}}", "is_typing"},
		{"{\"type\":\"mark_read\",\"data\":{\"id\":7}}", "id"},
		{"{\"type\":\"ack\",\"data\":{\"topic\":\"a\"}}", "topic"},
		{"{\"type\":\"ack\",\"data\":{\"seq\":1}}", "topic"},
		{"{\"type\":\"ack\",\"data\":{}}", "topic"},
		{"{\"type\":\"ack\",\"data\":{\"id\":\"" CONVERSATION "\",\"topic\":\"a\",\"seq\":1}}", "topic"},
		{"{\"type\":\"set_preferences\",\"data\":{\"types\":{\"sms\":true}}}", "types"},
		{"{\"type\":\"set_preferences\",\"data\":{\"types\":{\"system\":1}}}", "types"},
		{"{\"type\":\"set_preferences\",\"data\":{\"types\":[]}}", "types"},
		{"{\"type\":\"authenticate\"}", "token"},
		{"{\"type\":\"authenticate\",\"token\":\"\"}", "token"},
		{"{\"type\":\"subscribe\"}", "subscription"},
		{"{\"type\":\"get_preferences\",\"correlation_id\":\"\"}", "correlation_id"},
		{"{\"type\":\"get_preferences\",\"correlation_id\":{}}", "correlation_id"},
		{"{\"data\":{\"type\":\"ping\"}}", "type"},
		{"{\"type\":null}", "type"},
		{"{\"type\":[\"ping\"]}", "type"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_refused(wrong[i].text, wrong[i].field);
}

static void refuses_quiet_hours_without_two_times_and_a_zone(void **state)
{
	static const char *const wrong[] = {
		"{}",
		"\"22:00-07:00\"",
		"{\"start\":\"22:00\",\"end\":\"07:00\"}",
		"{\"start\":\"24:00\",\"end\":\"07:00\",\"time_zone\":\"UTC\"}",
		"{\"start\":\"22:60\",\"end\":\"07:00\",\"time_zone\":\"UTC\"}",
		"{\"start\":\"22:00\",\"end\":\"22:00\",\"time_zone\":\"UTC\"}",
		"{\"start\":\"2200\",\"end\":\"07:00\",\"time_zone\":\"UTC\"}",
		"{\"start\":\"22:00\",\"end\":7,\"time_zone\":\"UTC\"}",
		"{\"start\":\"22:00\",\"end\":\"07:00\",\"time_zone\":\"\"}",
		"{\"start\":\"22:00\",\"end\":\"07:00\",\"time_zone\":\"'; drop\"}",
		"{\"start\":\"22:00\",\"end\":\"07:00\",\"time_zone\":\"UTC\",\"more\":1}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		char text[300];

		snprintf(text, sizeof(text), "{\"type\":\"set_preferences\",\"data\":{\"quiet_hours\":%s}}", wrong[i]);
		assert_refused(text, "quiet_hours");
	}
}

static void takes_a_token_and_a_time_zone_as_short_and_as_long_as_may_be(void **state)
{
	static const struct {
		const char *before, *after, *field;
		size_t len_max;
	} cases[] = {
		{"{\"type\":\"authenticate\",\"token\":\"", "\"}", "token", 8192},
		{"{\"type\":\"set_preferences\",\"quiet_hours\":{\"start\":\"22:00\",\"end\":\"07:00\",\"time_zone\":"
		 "\"",
		 "\"}}", "quiet_hours", 64},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf text = BUF_EMPTY;

		for (size_t len = 1; len <= cases[i].len_max + 1; len++) {
			struct reading r;

			if (len > 2 && len < cases[i].len_max)
				continue;
			buf_clear(&text);
			buf_add_text(&text, cases[i].before);
			memset(buf_reserve(&text, len), 'x', len);
			buf_add_text(&text, cases[i].after);
			if (len > cases[i].len_max) {
				assert_refused(text.bytes, cases[i].field);
				break;
			}
			read_text(&r, text.bytes);
			assert_taken(&r, text.bytes);
			release(&r);
		}
		buf_free(&text);
	}
}

static void counts_characters_not_bytes(void **state)
{
	static const char head[] = "{\"type\":\"chat_message\",\"conversation_id\":\"" CONVERSATION "\",\"message\":\"";
	struct buf text = BUF_EMPTY;
	struct reading r;

	(void)state;
	buf_add_text(&text, head);
	for (int i = 0; i < 4000; i++)
		buf_add_text(&text, "é");
	buf_add_text(&text, "\"}");
	read_text(&r, text.bytes);
	assert_int_equal(r.e, OK);
	release(&r);
	text.len -= strlen("\"}");
	buf_add_text(&text, "é\"}");
	assert_refused(text.bytes, "message");
	buf_free(&text);
}

static void takes_fifty_participants_and_no_more(void **state)
{
	for (int count = 50; count <= 51; count++) {
		struct buf text = BUF_EMPTY;
		struct reading r;

		buf_add_text(&text, "{\"type\":\"create_conversation\",\"participants\":[");
		for (int i = 1; i <= count; i++)
			buf_printf(&text, "%s%d", i > 1 ? "," : "", i);
		buf_add_text(&text, "]}");
		read_text(&r, text.bytes);
		assert_int_equal(r.e, count == 50 ? OK : ERR_INPUT);
		release(&r);
		buf_free(&text);
	}
	(void)state;
}

static void keeps_the_correlation_id_of_a_message_that_is_refused(void **state)
{
	struct reading r;

	(void)state;
	read_text(&r, "{\"type\":\"health_update\",\"correlation_id\": \"a\\u0031 b\",\"data\":{\"x\":1}}");
	assert_int_equal(r.e, ERR_INPUT);
	assert_string_equal(r.message.correlation_id.bytes, "\"a\\u0031 b\"");
	release(&r);
	read_text(&r, "{\"type\":\"dance\",\"correlation_id\":\"1\"}");
	assert_int_equal(r.e, ERR_INPUT);
	assert_string_equal(r.fault.code, "unknown_type");
	assert_string_equal(r.message.correlation_id.bytes, "\"1\"");
	release(&r);
}

static void reads_what_the_connection_itself_is_told(void **state)
{
	struct reading r;

	(void)state;
	read_text(&r, "{\"type\":\"authenticate\",\"token\":\"a.b.c\"}");
	assert_int_equal(r.e, OK);
	assert_int_equal(r.message.type, CLIENT_AUTHENTICATE);
	assert_false(client_type_is_act(r.message.type));
	assert_string_equal(r.message.token.bytes, "a.b.c");
	assert_int_equal(r.message.data.len, 0);
	release(&r);

	read_text(&r, "{\"type\":\"authenticate\",\"token\":\"a.b.c\",\"device\":\"phone\"}");
	assert_string_equal(r.message.device, "phone");
	release(&r);

	read_text(&r, "{\"type\":\"refresh_token\",\"data\":{\"token\":\"d.e.f\"}}");
	assert_int_equal(r.e, OK);
	assert_int_equal(r.message.type, CLIENT_REFRESH_TOKEN);
	assert_string_equal(r.message.token.bytes, "d.e.f");
	release(&r);

	read_text(&r, "{\"type\":\"subscribe\",\"subscription\":\"health_updates\",\"data\":{}}");
	assert_int_equal(r.e, OK);
	assert_string_equal(r.message.subscription, "health_updates");
	assert_string_equal(r.message.cursor, "");
	release(&r);

	read_text(&r, "{\"type\":\"subscribe\",\"data\":{\"subscription\":\"diagnosis/1\",\"cursor\":\"e-5\"}}");
	assert_int_equal(r.e, OK);
	assert_string_equal(r.message.subscription, "diagnosis/1");
	assert_string_equal(r.message.cursor, "e-5");
	assert_false(r.message.presence);
	release(&r);

	read_text(&r, "{\"type\":\"subscribe\",\"subscription\":\"diagnosis/1\",\"presence\":true}");
	assert_int_equal(r.e, OK);
	assert_true(r.message.presence);
	release(&r);
	read_text(&r, "{\"type\":\"subscribe\",\"subscription\":\"diagnosis/1\",\"presence\":false}");
	assert_int_equal(r.e, OK);
	assert_false(r.message.presence);
	release(&r);

	read_text(&r, "{\"type\":\"unsubscribe\",\"subscription\":\"chat\"}");
	assert_int_equal(r.e, OK);
	assert_string_equal(r.message.subscription, "chat");
	release(&r);

	read_text(&r, "{\"type\":\"ack\",\"topic\":\"health/1\",\"seq\":9}");
	assert_int_equal(r.e, OK);
	assert_string_equal(r.message.topic, "health/1");
	assert_int_equal(r.message.seq, 9);
	assert_string_equal(r.message.id, "");
	release(&r);

	read_text(&r, "ping");
	assert_int_equal(r.e, OK);
	assert_int_equal(r.message.type, CLIENT_PING);
	release(&r);
	read_text(&r, "{\"type\":\"ping\",\"correlation_id\":\"p\"}");
	assert_int_equal(r.e, OK);
	assert_int_equal(r.message.type, CLIENT_PING);
	assert_string_equal(r.message.correlation_id.bytes, "\"p\"");
	release(&r);
}

static void holds_the_longest_subscription(void **state)
{
	struct buf text = BUF_EMPTY;
	struct reading r;

	(void)state;
	buf_add_text(&text, "{\"type\":\"subscribe\",\"subscription\":\"");
	for (int i = 0; i < 128; i++)
		buf_add_text(&text, "😀");
	buf_add_text(&text, "\"}");
	read_text(&r, text.bytes);
	assert_int_equal(r.e, OK);
	assert_int_equal(strlen(r.message.subscription), 512);
	release(&r);
	buf_free(&text);
}

static void refuses_what_is_no_object_in_words_for_both(void **state)
{
	static const struct {
		const char *text;
		int status;
	} wrong[] = {{"", 400},		{"hello", 400},
		     {"{", 400},	{"{\"type\":\"ping\",\"type\":\"ping\"}", 400},
		     {"\"ping\"", 422}, {"[{\"type\":\"ping\"}]", 422},
		     {"null", 422}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct reading r;

		read_text(&r, wrong[i].text);
		assert_int_equal(r.e, ERR_INPUT);
		assert_string_equal(r.fault.code, "invalid_message");
		assert_string_equal(r.fault.sentence, "A message must be a JSON object.");
		assert_int_equal(r.fault.problem.status, wrong[i].status);
		assert_non_null(r.fault.problem.detail);
		release(&r);
	}
}

static void knows_what_only_http_may_ask_for(void **state)
{
	static const char body[] =
		"{\"user_id\":456,\"type\":\"health_alert\",\"title\":\"High\",\"message\":\"Too high\",\"priority\":"
		"\"critical\",\"deliver_at\":\"2026-11-21T10:00:00Z\",\"correlation_id\":\"n\"}";
	struct client_message m = CLIENT_MESSAGE_NONE;
	struct client_fault fault = CLIENT_FAULT_NONE;
	struct reading r;

	(void)state;
	assert_int_equal(client_message_read_body(&m, CLIENT_NOTIFY, (struct span){body, strlen(body)}, &fault), OK);
	assert_string_equal(client_type_text(m.type), "notify");
	assert_string_equal(m.data.bytes,
			    "{\"user_id\":\"456\",\"type\":\"health_alert\",\"title\":\"High\",\"message\":"
			    "\"Too high\",\"priority\":\"critical\",\"deliver_at\":"
			    "\"2026-11-21T10:00:00.000Z\"}");
	assert_string_equal(m.correlation_id.bytes, "\"n\"");
	client_message_free(&m);

	read_text(&r, "{\"type\":\"notify\",\"data\":{}}");
	assert_int_equal(r.e, ERR_INPUT);
	assert_string_equal(r.fault.code, "unknown_type");
	release(&r);
}

static void a_broadcast_names_its_user(void **state)
{
	static const char body[] = "{\"metric\":\"pulse\",\"value\":70}";
	struct client_message m = CLIENT_MESSAGE_NONE;
	struct client_fault fault = CLIENT_FAULT_NONE;

	(void)state;
	assert_int_equal(
		client_message_read_body(&m, CLIENT_BROADCAST_HEALTH, (struct span){body, strlen(body)}, &fault),
		ERR_INPUT);
	assert_string_equal(fault.problem.errors.bytes, "{\"field\":\"user_id\",\"message\":\"is required\"}");
	problem_free(&fault.problem);
	client_message_free(&m);
}

static void answers_a_broadcast_with_the_ids_of_what_it_became(void **state)
{
	static const struct {
		const char *reply, *topic, *answer;
		int64_t seq;
	} cases[] = {
		{"{\"type\":\"x\",\"data\":{\"id\" : 7, \"seq\":3,\"status\":\"sent\",\"m \\\"q\\\"\":[1, "
		 "2]},\"timestamp\":\"t\"}",
		 "health/1",
		 "{\"status\":\"broadcasted\",\"topic\":\"health/1\",\"seq\":3,\"clients_notified\":2,\"id\":7,"
		 "\"m \\\"q\\\"\":[1,2]}",
		 3},
		{"{\"data\":{}}", "", "{\"status\":\"broadcasted\",\"topic\":null,\"seq\":null,\"clients_notified\":2}",
		 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out = BUF_EMPTY;

		assert_int_equal(act_reply_write_broadcast(&out, (struct span){cases[i].reply, strlen(cases[i].reply)},
							   cases[i].topic, cases[i].seq, 2),
				 OK);
		assert_string_equal(out.bytes, cases[i].answer);
		buf_free(&out);
	}
}

static void takes_data_out_of_a_reply(void **state)
{
	static const char reply[] = "{\"type\":\"receipt\",\"data\":{\"id\": \"a\"}}";
	static const char *const none[] = {"{\"data\":1}", "{}", "[]", "{"};
	struct buf out = BUF_EMPTY;

	(void)state;
	assert_int_equal(act_reply_write_data(&out, (struct span){reply, strlen(reply)}), OK);
	assert_string_equal(out.bytes, "{\"id\":\"a\"}");
	buf_free(&out);
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		assert_int_equal(act_reply_write_data(&out, (struct span){none[i], strlen(none[i])}), ERR_INPUT);
	assert_int_equal(out.len, 0);
}

/* Whose id stands in a path, what its body has of another is not the path's. */
static void an_id_that_was_said_elsewhere_is_the_first_member_and_no_other(void **state)
{
	static const char body[] = "{\"rating\":4,\"correlation_id\":\"c\"}",
			  other[] = "{\"rating\":4,\"feedback_id\":7}";
	struct reading r = {0};

	(void)state;
	r.e = client_message_read_about(&r.message, CLIENT_RATE_FEEDBACK, 9, (struct span){body, strlen(body)},
					&r.fault);
	assert_taken(&r, body);
	assert_string_equal(r.message.data.bytes, "{\"feedback_id\":9,\"rating\":4}");
	assert_string_equal(r.message.correlation_id.bytes, "\"c\"");
	release(&r);
	memset(&r, 0, sizeof(r));
	r.e = client_message_read_about(&r.message, CLIENT_WITHDRAW_FEEDBACK, INT64_MAX, (struct span){"{}", 2},
					&r.fault);
	assert_taken(&r, "{}");
	assert_string_equal(r.message.data.bytes, "{\"feedback_id\":9223372036854775807}");
	release(&r);
	memset(&r, 0, sizeof(r));
	r.e = client_message_read_about(&r.message, CLIENT_RATE_FEEDBACK, 9, (struct span){other, strlen(other)},
					&r.fault);
	assert_int_equal(r.e, ERR_INPUT);
	assert_string_equal(r.fault.problem.errors.bytes,
			    "{\"field\":\"feedback_id\",\"message\":\"is not known here\"}");
	release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_every_act_with_all_that_it_may_have),
		cmocka_unit_test(a_question_passes_over_members_that_it_does_not_have),
		cmocka_unit_test(what_changes_something_refuses_members_that_it_does_not_have),
		cmocka_unit_test(an_exact_question_refuses_them_too),
		cmocka_unit_test(lists_unknown_members_beside_the_wrong_ones),
		cmocka_unit_test(says_what_is_missing_where_nothing_is_found),
		cmocka_unit_test(looks_beside_data_when_that_is_not_there_or_empty),
		cmocka_unit_test(tells_null_that_takes_away_from_what_is_not_given),
		cmocka_unit_test(gives_the_database_numbers_that_it_can_take),
		cmocka_unit_test(refuses_what_is_missing_or_of_another_kind),
		cmocka_unit_test(refuses_quiet_hours_without_two_times_and_a_zone),
		cmocka_unit_test(takes_a_token_and_a_time_zone_as_short_and_as_long_as_may_be),
		cmocka_unit_test(counts_characters_not_bytes),
		cmocka_unit_test(takes_fifty_participants_and_no_more),
		cmocka_unit_test(keeps_the_correlation_id_of_a_message_that_is_refused),
		cmocka_unit_test(reads_what_the_connection_itself_is_told),
		cmocka_unit_test(holds_the_longest_subscription),
		cmocka_unit_test(refuses_what_is_no_object_in_words_for_both),
		cmocka_unit_test(knows_what_only_http_may_ask_for),
		cmocka_unit_test(a_broadcast_names_its_user),
		cmocka_unit_test(answers_a_broadcast_with_the_ids_of_what_it_became),
		cmocka_unit_test(takes_data_out_of_a_reply),
		cmocka_unit_test(an_id_that_was_said_elsewhere_is_the_first_member_and_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
