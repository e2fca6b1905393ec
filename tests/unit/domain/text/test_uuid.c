#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/defs.h"
#include "domain/text/uuid.h"

#define TEXT "01234567-89ab-4def-8123-456789abcdef"

static void reads_what_it_wrote(void **state)
{
	char text[UUID_TEXT_SIZE];
	struct uuid u, again;

	(void)state;
	assert_true(uuid_parse(&u, TEXT, 36));
	assert_memory_equal(u.bytes, "\x01\x23\x45\x67\x89\xab\x4d\xef\x81\x23\x45\x67\x89\xab\xcd\xef", 16);
	assert_string_equal(uuid_text(text, &u), TEXT);
	assert_true(uuid_parse(&again, text, strlen(text)));
	assert_true(uuid_equal(&u, &again));
}

static void takes_either_case_and_writes_lower(void **state)
{
	char text[UUID_TEXT_SIZE];
	struct uuid u;

	(void)state;
	assert_true(uuid_parse(&u, "01234567-89AB-4dEF-8123-456789ABCDEF", 36));
	assert_string_equal(uuid_text(text, &u), TEXT);
}

static void refuses_what_is_none_and_changes_nothing(void **state)
{
	static const char *const wrong[] = {
		"",
		"0123456789ab4def8123456789abcdef",
		"{01234567-89ab-4def-8123-456789abcdef}",
		"01234567-89ab-4def-8123-456789abcde",
		"01234567-89ab-4def-8123-456789abcdef0",
		"0123456-789ab-4def-8123-456789abcdef",
		"01234567-89ab-4def-8123-456789abcdeg",
		"01234567-89ab-4def-8123-456789abcd f",
		"01234567089ab04def081230456789abcdef",
		"0123456--89ab-4def-8123-456789abcdef",
		"+1234567-89ab-4def-8123-456789abcdef",
		"0x234567-89ab-4def-8123-456789abcdef",
	};
	struct uuid u = {.bytes = {7}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_false(uuid_parse(&u, wrong[i], strlen(wrong[i])));
	assert_false(uuid_parse(&u, "01234567-89ab-4def-8123-456789abcd\0f", 36));
	assert_int_equal(u.bytes[0], 7);
}

/* RFC 9562, section 5.4 */
static void a_random_one_is_of_version_4(void **state)
{
	uint8_t random[UUID_BYTES];
	char text[UUID_TEXT_SIZE];
	struct uuid u;

	(void)state;
	memset(random, 0, sizeof(random));
	u = uuid_of_random(random);
	assert_string_equal(uuid_text(text, &u), "00000000-0000-4000-8000-000000000000");
	memset(random, 0xff, sizeof(random));
	u = uuid_of_random(random);
	assert_string_equal(uuid_text(text, &u), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

static void one_bit_makes_another(void **state)
{
	struct uuid a, b;

	(void)state;
	assert_true(uuid_parse(&a, TEXT, 36));
	for (size_t i = 0; i < UUID_BYTES; i++) {
		b = a;
		assert_true(uuid_equal(&a, &b));
		b.bytes[i] ^= 1;
		assert_false(uuid_equal(&a, &b));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_it_wrote),
		cmocka_unit_test(takes_either_case_and_writes_lower),
		cmocka_unit_test(refuses_what_is_none_and_changes_nothing),
		cmocka_unit_test(a_random_one_is_of_version_4),
		cmocka_unit_test(one_bit_makes_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
