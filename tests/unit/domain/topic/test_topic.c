#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/topic/topic.h"

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
	assert_true(topic_parse_id("9223372036854775807", 19, &id));
	assert_true(id == INT64_MAX);
	assert_true(topic_parse_id("12345", 2, &id)); /* only so many bytes are looked at */
	assert_int_equal(id, 12);
}

static void refuses_what_is_no_diagnosis_id_and_changes_nothing(void **state)
{
	static const char *const wrong[] = {"",
					    "0",
					    "01",
					    "-1",
					    "+1",
					    "1.0",
					    "1e3",
					    " 1",
					    "1 ",
					    "x",
					    "9223372036854775808",
					    "9999999999999999999",
					    "10000000000000000000",
					    "18446744073709551617",
					    "1:",
					    "1/"};
	int64_t id = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_false(topic_parse_id(wrong[i], strlen(wrong[i]), &id));
	assert_int_equal(id, 7);
}

static void tells_names_that_only_look_like_a_topic_of_the_product(void **state)
{
	static const char *const right[] = {
		"diagnosis/123",
		"diagnosis/9223372036854775807",
		"health/0456",
		"health/a/b",
		"chats/ann",
		"notifications/456",
		"chat/0f0f0f0f-aaaa-4bbb-8ccc-123456789abc",
		"news",
		"diagnoses/123",
		"health.metrics",
		"healthy/1",
		"/health/1",
	};
	static const char *const misleading[] = {
		"diagnosis/0123",
		"diagnosis/123/",
		"Diagnosis/123",
		"diagnosis/9223372036854775808",
		"diagnosis/",
		"diagnosis",
		"health",
		"health/",
		"HEALTH/456",
		"Chats/ann",
		"notifications/",
		"chat/1",
		"chat/0F0F0F0F-AAAA-4BBB-8CCC-123456789ABC",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(right); i++)
		if (topic_name_misleads(right[i]))
			fail_msg("%s is refused", right[i]);
	for (size_t i = 0; i < ARRAY_LEN(misleading); i++)
		if (!topic_name_misleads(misleading[i]))
			fail_msg("%s is taken", misleading[i]);
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
		cmocka_unit_test(tells_names_that_only_look_like_a_topic_of_the_product),
		cmocka_unit_test(goes_from_diagnosis_to_topic_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
