#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/topic.h"

static void takes_names_of_the_allowed_characters(void **state)
{
	char longest[TOPIC_NAME_MAX + 2];

	(void)state;
	assert_true(topic_name_valid("diagnosis/123", 13));
	assert_true(topic_name_valid("A.z_9:-/", 8));
	memset(longest, 'a', sizeof(longest));
	assert_true(topic_name_valid(longest, TOPIC_NAME_MAX));
	assert_false(topic_name_valid(longest, TOPIC_NAME_MAX + 1));
}

static void refuses_other_names(void **state)
{
	static const char *const wrong[] = {"", " ", "a b", "a,b", "a\n", "caf\xc3\xa9", "a*", "a\"", "a'"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_false(topic_name_valid(wrong[i], strlen(wrong[i])));
	assert_false(topic_name_valid("a\0b", 3));
}

static void reads_a_diagnosis_id(void **state)
{
	int64_t id = 0;

	(void)state;
	assert_true(topic_parse_id("123", 3, &id));
	assert_int_equal(id, 123);
	assert_true(topic_parse_id("999999999999999999", 18, &id));
	assert_true(id == INT64_C(999999999999999999));
	assert_true(topic_parse_id("12345", 2, &id)); /* only so many bytes are looked at */
	assert_int_equal(id, 12);
}

static void refuses_what_is_no_diagnosis_id_and_changes_nothing(void **state)
{
	static const char *const wrong[] = {
		"", "0", "01", "-1", "+1", "1.0", "1e3", " 1", "1 ", "x", "1000000000000000000"};
	int64_t id = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_false(topic_parse_id(wrong[i], strlen(wrong[i]), &id));
	assert_int_equal(id, 7);
}

static void goes_from_diagnosis_to_topic_and_back(void **state)
{
	char name[TOPIC_NAME_MAX + 1];
	int64_t id = 7;

	(void)state;
	topic_of_diagnosis(name, 123);
	assert_string_equal(name, "diagnosis/123");
	assert_true(topic_diagnosis_id(name, &id));
	assert_int_equal(id, 123);
	assert_false(topic_diagnosis_id("health/123", &id));
	assert_false(topic_diagnosis_id("diagnosis/", &id));
	assert_false(topic_diagnosis_id("diagnosis/1/2", &id));
	assert_false(topic_diagnosis_id("xdiagnosis/1", &id));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_names_of_the_allowed_characters),
		cmocka_unit_test(refuses_other_names),
		cmocka_unit_test(reads_a_diagnosis_id),
		cmocka_unit_test(refuses_what_is_no_diagnosis_id_and_changes_nothing),
		cmocka_unit_test(goes_from_diagnosis_to_topic_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
