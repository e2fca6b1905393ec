#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/text/json.h"
#include "domain/text/json_pointer.h"

static json_object *read_json(const char *text)
{
	json_object *root = NULL;
	const char *problem = NULL;

	assert_int_equal(json_read(&root, text, strlen(text), &problem), OK);
	return root;
}

static void finds_what_rfc_6901_says(void **state)
{
	static const struct {
		const char *pointer;
		const char *found; /* NULL: nothing */
	} cases[] = {{"/foo", "[\"bar\",\"baz\"]"},
		     {"/foo/0", "\"bar\""},
		     {"/foo/1", "\"baz\""},
		     {"/", "0"},
		     {"/a~1b", "1"},
		     {"/c%d", "2"},
		     {"/m~0n", "8"},
		     {"/deep/a/b", "3"},
		     {"/e", "5"},
		     {"/~01", "6"},
		     {"/foo/2", NULL},
		     {"/foo/-", NULL},
		     {"/foo/00", NULL},
		     {"/foo/", NULL},
		     {"/foo/0/x", NULL},
		     {"/null", NULL},
		     {"/null/x", NULL},
		     {"/absent", NULL},
		     {"/foo/99999999999", NULL},
		     {"/deep/a/b/c", NULL},
		     {"/deep/a/", NULL},
		     {"/foo/1e0", NULL}};
	json_object *root =
		read_json("{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"m~n\":8,\"deep\":{\"a\":{\"b\":3}},"
			  "\"e\":5,\"~1\":6,\"null\":null}");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_object *found = json_pointer_find(root, cases[i].pointer);
		const char *text = found ? json_object_to_json_string_ext(found, JSON_C_TO_STRING_PLAIN) : NULL;

		assert_true(json_pointer_valid(cases[i].pointer));
		if (!text || !cases[i].found)
			assert_ptr_equal(text, cases[i].found);
		else
			assert_string_equal(text, cases[i].found);
	}
	json_object_put(root);
}

static void is_no_pointer_that_does_not_begin_with_a_slash_or_is_too_long_or_has_a_lonely_tilde(void **state)
{
	static const char *const texts[] = {"", "sub", "sub/a", "#/sub", "/a~", "/a~2b", "/a~~0"};
	char longest[JSON_POINTER_MAX + 2];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_false(json_pointer_valid(texts[i]));
	memset(longest, '/', sizeof(longest));
	longest[JSON_POINTER_MAX + 1] = '\0';
	assert_false(json_pointer_valid(longest));
	longest[JSON_POINTER_MAX] = '\0';
	assert_true(json_pointer_valid(longest));
}

static void puts_values_where_it_finds_them_again_and_makes_the_objects_that_are_missing(void **state)
{
	json_object *root = read_json("{\"a\":{\"x\":1},\"text\":\"t\"}");

	(void)state;
	assert_int_equal(json_pointer_put(root, "/a/b~1c/d", json_object_new_int(2)), OK);
	assert_int_equal(json_pointer_put(root, "/a/x", json_object_new_int(3)), OK);
	assert_int_equal(json_pointer_put(root, "/text/0", json_object_new_int(4)), OK);
	assert_string_equal(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN),
			    "{\"a\":{\"x\":3,\"b\\/c\":{\"d\":2}},\"text\":{\"0\":4}}");
	assert_int_equal(json_pointer_put(root, "/a", NULL), ERR_MEMORY);
	json_object_put(root);
}

static void goes_by_the_longest_name_and_the_last_of_many_elements(void **state)
{
	json_object *root = json_object_new_object(), *many = json_object_new_array();
	char pointer[JSON_POINTER_MAX + 1];

	(void)state;
	memset(pointer, 'x', JSON_POINTER_MAX);
	pointer[0] = '/';
	pointer[JSON_POINTER_MAX] = '\0';
	assert_true(json_pointer_valid(pointer));
	assert_int_equal(json_pointer_put(root, pointer, json_object_new_int(7)), OK);
	assert_int_equal(json_object_get_int(json_object_object_get(root, pointer + 1)), 7);
	assert_int_equal(json_object_get_int(json_pointer_find(root, pointer)), 7);
	for (int i = 0; i <= 1234; i++)
		json_object_array_add(many, json_object_new_int(i));
	assert_int_equal(json_pointer_put(root, "/many", many), OK);
	assert_int_equal(json_object_get_int(json_pointer_find(root, "/many/1234")), 1234);
	assert_null(json_pointer_find(root, "/many/1235"));
	assert_null(json_pointer_find(root, "/many/00001"));
	assert_null(json_pointer_find(root, "/many/:")); /* ten, if it were a digit */
	json_object_put(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_rfc_6901_says),
		cmocka_unit_test(is_no_pointer_that_does_not_begin_with_a_slash_or_is_too_long_or_has_a_lonely_tilde),
		cmocka_unit_test(goes_by_the_longest_name_and_the_last_of_many_elements),
		cmocka_unit_test(puts_values_where_it_finds_them_again_and_makes_the_objects_that_are_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
