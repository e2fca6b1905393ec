#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log/log.h"
#include "base/log/log_fields.h"

static struct span span_of(const char *text)
{
	return (struct span){text, strlen(text)};
}

static const char *json_of(const char *text)
{
	static char out[4096];

	out[log_fields_json(out, 2000, span_of(text))] = '\0';
	return out;
}

static void words_come_first_then_pairs(void **state)
{
	(void)state;
	assert_string_equal(json_of("listening address=127.0.0.1 port=8001"),
			    "\"msg\":\"listening\",\"address\":\"127.0.0.1\",\"port\":\"8001\"");
	assert_string_equal(json_of("stopped"), "\"msg\":\"stopped\"");
	assert_string_equal(json_of("user=456"), "\"msg\":\"\",\"user\":\"456\"");
	assert_string_equal(json_of("listening socket= node=x"),
			    "\"msg\":\"listening\",\"socket\":\"\",\"node\":\"x\"");
	assert_string_equal(json_of(""), "\"msg\":\"\"");
}

static void a_message_that_has_an_equals_sign_in_its_words_stays_one(void **state)
{
	(void)state;
	assert_string_equal(json_of("TIDINGS_CONNECTIONS_MAX=7 needs 9 descriptors (LimitNOFILE=)"),
			    "\"msg\":\"TIDINGS_CONNECTIONS_MAX=7 needs 9 descriptors (LimitNOFILE=)\"");
	assert_string_equal(json_of("a=b is no pair, this is: c=d"),
			    "\"msg\":\"a=b is no pair, this is:\",\"c\":\"d\"");
}

static void what_a_stranger_calls_himself_is_one_value(void **state)
{
	const char *forged = "x\" outcome=ok user=\"root\n\\";
	char quoted[200], line[300];

	(void)state;
	log_quote(quoted, sizeof(quoted), forged, strlen(forged));
	snprintf(line, sizeof(line), "audit user=%s outcome=forbidden", quoted);
	assert_string_equal(json_of(line), "\"msg\":\"audit\",\"user\":\"x\\\" outcome=ok user=\\\"root\\u000a\\\\\","
					   "\"outcome\":\"forbidden\"");
}

static void what_was_escaped_is_what_it_was(void **state)
{
	const char *text = "\xc3\xa9 \xf0\x9f\x92\xa9 \xe2\x80\xa8";
	char quoted[200], line[300];

	(void)state;
	log_quote(quoted, sizeof(quoted), text, strlen(text));
	snprintf(line, sizeof(line), "x user=%s", quoted);
	assert_string_equal(json_of(line), "\"msg\":\"x\",\"user\":\"\xc3\xa9 \xf0\x9f\x92\xa9 \xe2\x80\xa8\"");
	/* A value that nobody quoted has no escapes. */
	assert_string_equal(json_of("x path=\\x41"), "\"msg\":\"x\",\"path\":\"\\\\x41\"");
	assert_string_equal(json_of("x user=\"\\x4\""), "\"msg\":\"x\",\"user\":\"\\\\x4\"");
}

static void what_is_no_utf8_becomes_the_replacement_character(void **state)
{
	static const char *const bad[] = {"\xff",	  "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
					  "\xe0\x80\x80", "\x80"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char line[64];

		snprintf(line, sizeof(line), "x%sy", bad[i]);
		assert_memory_equal(json_of(line), "\"msg\":\"x\\ufffd", 14);
		assert_null(strstr(json_of(line), bad[i]));
		assert_non_null(strstr(json_of(line), "y\""));
	}
}

static void where_there_is_no_room_whole_members_are_left_out_and_it_is_said(void **state)
{
	const char *line = "audit user=\"\\x0a\\x0a\\x0a\\x0a\\x0a\\x0a\\x0a\\x0a\" outcome=ok why=x";
	char out[200];

	(void)state;
	for (size_t size = 64; size < sizeof(out); size++) {
		size_t len = log_fields_json(out, size, span_of(line));

		assert_true(len <= size);
		assert_int_equal(out[len - 1] == '"' || memcmp(out + len - 11, ",\"cut\":true", 11) == 0, 1);
		out[len] = '\0';
		assert_int_equal(strstr(out, "\"why\":\"x\"") == NULL, strstr(out, "\"cut\":true") != NULL);
	}
	memset(out, 'x', sizeof(out) - 1);
	out[sizeof(out) - 1] = '\0';
	{
		char json[64];
		size_t len = log_fields_json(json, sizeof(json), span_of(out));

		assert_true(len <= sizeof(json));
		assert_memory_equal(json + len - 12, "\",\"cut\":true", 12);
	}
}

/* A line that was cut has no quote at its end. */
static void the_last_value_of_a_line_that_was_cut_is_a_value(void **state)
{
	(void)state;
	assert_string_equal(json_of("audit user=\"two wor"), "\"msg\":\"audit\",\"user\":\"two wor\"");
	assert_string_equal(json_of("audit user=\""), "\"msg\":\"audit\",\"user\":\"\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_come_first_then_pairs),
		cmocka_unit_test(a_message_that_has_an_equals_sign_in_its_words_stays_one),
		cmocka_unit_test(what_a_stranger_calls_himself_is_one_value),
		cmocka_unit_test(what_was_escaped_is_what_it_was),
		cmocka_unit_test(what_is_no_utf8_becomes_the_replacement_character),
		cmocka_unit_test(where_there_is_no_room_whole_members_are_left_out_and_it_is_said),
		cmocka_unit_test(the_last_value_of_a_line_that_was_cut_is_a_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
