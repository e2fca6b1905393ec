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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_server_says_itself_is_its_own),
		cmocka_unit_test(whatever_is_not_exactly_such_a_word_is_a_publisher_s),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
