#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/defs.h"
#include "domain/topic/message_type.h"

static void what_the_server_says_itself_is_its_own(void **state)
{
	static const char *const own[] = {"connect", "error", "reconnect_messages", "revoked", "unsubscribed"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		assert_true(message_type_is_own(own[i]));
}

static void whatever_is_not_exactly_such_a_word_is_a_publisher_s(void **state)
{
	static const char *const others[] = {"", "Error", "errors", "erro", "note", "health_update"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_false(message_type_is_own(others[i]));
}

static struct message_types *types_of(const char *list)
{
	struct message_types *types = NULL;

	assert_int_equal(message_types_of_list(&types, (struct span){list, strlen(list)}), OK);
	return types;
}

static bool have(const struct message_types *types, const char *message)
{
	return message_types_have(types, (struct span){message, strlen(message)});
}

static void the_wanted_are_found_with_a_seq_and_a_cursor_in_front_and_without(void **state)
{
	struct message_types *types = types_of("a,note,\xc3\xa4");

	(void)state;
	assert_true(have(types, "{\"type\":\"note\",\"data\":{}}"));
	assert_true(have(types, "{\"seq\":17,\"type\":\"a\",\"data\":{}}"));
	assert_true(have(types, "{\"seq\":17,\"cursor\":\"abc-17\",\"type\":\"a\",\"data\":{}}"));
	assert_false(have(types, "{\"seq\":17,\"cursor\":\"abc-17\",\"type\":\"b\"}"));
	assert_true(have(types, "{\"type\":\"\xc3\xa4\"}"));
	assert_true(have(types, "{\"type\":\"\\u00e4\"}"));
	assert_false(have(types, "{\"seq\":17,\"type\":\"b\",\"data\":{\"type\":\"a\"}}"));
	assert_false(have(types, "{\"type\":\"no\"}"));
	assert_false(have(types, "{\"type\":\"notes\"}"));
	assert_false(have(types, "{}"));
	assert_false(have(types, "{\"seq\":1}"));
	assert_false(have(types, "{\"type\":\"a"));
	assert_true(have(NULL, "{}"));
	message_types_unref(&types);
	assert_null(types);
}

static void a_type_with_quotes_and_backslashes_is_found(void **state)
{
	struct message_types *types = types_of("a\"\\b");

	(void)state;
	assert_true(have(types, "{\"type\":\"a\\\"\\\\b\",\"data\":{}}"));
	assert_false(have(types, "{\"type\":\"a\\\"\",\"data\":{}}"));
	assert_string_equal(message_types_json(types), "[\"a\\\"\\\\b\"]");
	message_types_unref(&types);
}

static void a_list_is_1_to_20_different_names(void **state)
{
	static const char *const wrong[] = {
		"", ",", "a,", ",a", "a,,b", "a,a", "\xff", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21"};
	struct message_types *types = NULL, *same;
	char longest[MESSAGE_TYPES_MAX * 8];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_int_equal(message_types_of_list(&types, (struct span){wrong[i], strlen(wrong[i])}), ERR_INPUT);
		message_types_unref(&types);
	}
	memset(longest, 'x', 129);
	assert_int_equal(message_types_of_list(&types, (struct span){longest, 129}), ERR_INPUT);
	message_types_unref(&types);
	assert_int_equal(message_types_of_list(&types, (struct span){longest, 128}), OK);
	message_types_unref(&types);
	types = types_of("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20");
	same = message_types_ref(types);
	message_types_unref(&types);
	assert_true(have(same, "{\"type\":\"20\"}"));
	message_types_unref(&same);
	assert_null(message_types_ref(NULL));
	assert_null(message_types_json(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_server_says_itself_is_its_own),
		cmocka_unit_test(whatever_is_not_exactly_such_a_word_is_a_publisher_s),
		cmocka_unit_test(the_wanted_are_found_with_a_seq_and_a_cursor_in_front_and_without),
		cmocka_unit_test(a_type_with_quotes_and_backslashes_is_found),
		cmocka_unit_test(a_list_is_1_to_20_different_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
