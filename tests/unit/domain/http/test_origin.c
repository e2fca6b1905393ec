#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/http/origin.h"

static bool allows(const char *allowed, const char *origin)
{
	return origin_allowed(allowed, (struct span){origin, strlen(origin)});
}

static void takes_those_of_the_list_and_no_other(void **state)
{
	static const char list[] = "https://a.example, https://b.example:8443";

	(void)state;
	assert_true(allows(list, "https://a.example"));
	assert_true(allows(list, "https://b.example:8443"));
	assert_false(allows(list, "https://b.example"));
	assert_false(allows(list, "https://a.example:443"));
	assert_false(allows(list, "https://a.exampl"));
	assert_false(allows(list, "https://c.example"));
	assert_false(allows(list, "http://a.example"));
	assert_false(allows(list, ""));
	assert_false(allows(list, "*"));
}

static void a_star_is_all_of_them(void **state)
{
	(void)state;
	assert_true(allows("*", "https://a.example"));
	assert_true(allows("https://b.example,*", "null"));
	assert_false(allows("**", "https://a.example"));
	assert_false(allows("x", "https://a.example"));
}

static void without_a_list_there_is_none(void **state)
{
	(void)state;
	assert_false(allows(NULL, "https://a.example"));
	assert_false(allows("", "https://a.example"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_those_of_the_list_and_no_other),
		cmocka_unit_test(a_star_is_all_of_them),
		cmocka_unit_test(without_a_list_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
