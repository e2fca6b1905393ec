#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/text/json.h"
#include "domain/text/json_scan.h"

static enum err read_text(const char *text, size_t len, const char **problem)
{
	struct json_object *root = NULL;
	enum err e = json_read(&root, text, len, problem);

	json_object_put(root);
	return e;
}

static void assert_refused(const char *text, size_t len, const char *word)
{
	const char *problem = NULL;

	assert_int_equal(read_text(text, len, &problem), ERR_INPUT);
	assert_non_null(problem);
	if (!strstr(problem, word))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, problem, word);
}

static void assert_taken(const char *text)
{
	const char *problem = "";

	if (read_text(text, strlen(text), &problem) != OK)
		fail_msg("%s: %s", text, problem);
}

static void takes_all_that_is_json(void **state)
{
	static const char *const right[] = {
		"null",
		"true",
		"false",
		"0",
		"-0",
		"-0.0e+10",
		"1E5",
		"12.50",
		"\"\"",
		"[]",
		"{}",
		" \t\r\n[ 1 , 2 ] ",
		"{\"a\":{\"a\":1},\"b\":[{\"a\":1}]}",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"",
		"\"\xf0\x9f\x98\x80\x7f\"",
		"\"\\ud800\\udc00\\udbff\\udfff\"",
		"123456789012345678901234567890",
		"1e400",
		"{\"\":0}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(right); i++)
		assert_taken(right[i]);
}

static void refuses_what_is_not_json(void **state)
{
	static const char *const wrong[] = {
		"",	   " ",		"{",	    "[",	  "[1",		 "[1,",	      "[1,]",
		"[,1]",	   "{\"a\"}",	"{\"a\":}", "{\"a\":1,}", "{a:1}",	 "{'a':1}",   "'a'",
		"\"a",	   "nul",	"nullx",    "True",	  "NaN",	 "Infinity",  "-Infinity",
		"-",	   "01",	"-01",	    "1.",	  ".5",		 "+1",	      "1e",
		"1e+",	   "0x10",	"\"\\x\"",  "\"\\u12\"",  "\"\\u12g4\"", "\"\t\"",    "\"\n\"",
		"// c\n1", "/* c */ 1", "]",	    "}",	  "[1}",	 "{\"a\":1]", ",",
		":",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_refused(wrong[i], strlen(wrong[i]), "JSON");
}

static void says_what_python_and_javascript_write_wrong(void **state)
{
	static const char *const wrong[] = {"NaN", "[-Infinity]", "{\"a\":True}", "[1,None]", "undefined"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_refused(wrong[i], strlen(wrong[i]), "NaN, Infinity, True, False, None and undefined");
}

static void refuses_what_follows_after_the_end(void **state)
{
	static const char *const wrong[] = {"{} {}", "1 2", "null,", "[]]", "\"a\"b", "{}/**/"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_refused(wrong[i], strlen(wrong[i]), "after its end");
}

static void refuses_what_is_not_utf8(void **state)
{
	static const char *const wrong[] = {
		"\"\xff\"",	"\"\xc3\"",	    "\"\xc0\x80\"",	  "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
		"\"\xe2\x82\"", "\"\x80\"",	    "\"\\ud800\"",	  "\"\\udc00\"",      "\"\\ud800\\u0041\"",
		"\"\\ud800x\"", "\"\\ud800udc00\"", "\"\\udc00\\ud800\"", "{\"\\udfff\":1}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_refused(wrong[i], strlen(wrong[i]), "UTF-8");
}

static void refuses_a_nul_in_any_disguise(void **state)
{
	(void)state;
	assert_refused("\"a\0b\"", 5, "NUL");
	assert_refused("1\0", 2, "NUL");
	assert_refused("\"\\u0000\"", 8, "NUL");
	assert_refused("{\"a\\u0000b\":1}", 14, "NUL");
}

static void refuses_a_key_that_comes_twice(void **state)
{
	static const char *const wrong[] = {
		"{\"a\":1,\"a\":1}", "{\"a\":1,\"b\":2,\"\\u0061\":3}",	  "[[{\"x\":{\"a\":1,\"a\":2}}]]",
		"{\"\":1,\"\":2}",   "{\"a\":{\"k\":1,\"k\":2},\"a\":3}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_refused(wrong[i], strlen(wrong[i]), "twice");
}

static void counts_the_levels(void **state)
{
	char text[2 * (JSON_DEPTH_MAX + 1) + 1] = "";
	size_t n = JSON_DEPTH_MAX;

	(void)state;
	memset(text, '[', n);
	memset(text + n, ']', n);
	assert_taken(text);
	n++;
	memset(text, '[', n);
	memset(text + n, ']', n);
	assert_refused(text, 2 * n, "nested");
}

static void walks_the_values_as_they_were_written(void **state)
{
	static const char text[] = " { \"a\\\"}\" : 1.50 , \"b\":\"x,]\",\"c\" :[ 1,{}],\"d\":null}";
	static const char *const values[] = {"1.50", "\"x,]\"", "[ 1,{}]", "null"};
	struct span rest = {text, strlen(text)};
	struct span value = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		assert_true(json_next(&rest, &value));
		assert_int_equal(value.len, strlen(values[i]));
		assert_memory_equal(value.bytes, values[i], value.len);
	}
	assert_false(json_next(&rest, &value));
}

static void walks_lists_of_texts_and_empty_ones(void **state)
{
	struct span rest = {"[\"a\" , \"b\"]", 11};
	struct span value = {0};

	(void)state;
	assert_true(json_next(&rest, &value));
	assert_memory_equal(value.bytes, "\"a\"", 3);
	assert_true(json_next(&rest, &value));
	assert_memory_equal(value.bytes, "\"b\"", 3);
	assert_false(json_next(&rest, &value));
	rest = (struct span){"[ ]", 3};
	assert_false(json_next(&rest, &value));
	rest = (struct span){"{}", 2};
	assert_false(json_next(&rest, &value));
}

static bool equal(const char *a, const char *b)
{
	struct json_object *left = NULL;
	struct json_object *right = NULL;
	const char *problem = NULL;
	bool same = false;

	assert_int_equal(json_read(&left, a, strlen(a), &problem), OK);
	assert_int_equal(json_read(&right, b, strlen(b), &problem), OK);
	same = json_equal(left, right);
	json_object_put(left);
	json_object_put(right);
	return same;
}

static void compares_values_not_their_writing(void **state)
{
	(void)state;
	assert_true(equal("1", "1.0"));
	assert_true(equal("0.10", "1e-1"));
	assert_true(equal("{\"a\":1,\"b\":[2,null]}", "{ \"b\":[2.0,null], \"a\":1 }"));
	assert_true(equal("\"\\u00e9\"", "\"\xc3\xa9\""));
	assert_true(equal("null", "null"));
	assert_false(equal("null", "false"));
	assert_false(equal("1", "\"1\""));
	assert_false(equal("[1,2]", "[2,1]"));
	assert_false(equal("[1]", "[1,1]"));
	assert_false(equal("{\"a\":1}", "{\"b\":1}"));
	assert_false(equal("{\"a\":1}", "{\"a\":1,\"b\":1}"));
	assert_false(equal("{\"a\":1}", "{\"a\":2}"));
	assert_false(equal("{\"a\":null,\"b\":1}", "{\"b\":1,\"c\":null}"));
	assert_false(equal("-1", "18446744073709551614"));
	/* json-c holds these as the largest that it can, or as no number at all. */
	assert_false(equal("[123456789012345678901]", "[123456789012345678902]"));
	assert_true(equal("[{\"a\":123456789012345678901}]", " [ {\"a\":123456789012345678901.0} ]"));
	assert_true(equal(" 123456789012345678901 ", "1.23456789012345678901e20"));
	assert_false(equal("1e400", "1e500"));
	assert_false(equal("1e-400", "0"));
	assert_true(equal("1e22", "10000000000000000000000"));
}

static void drops_space_only_between_parts(void **state)
{
	static const char text[] = "{ \"a b\" : [ 1 ,\n\t\"c \\\" d\\\\\" ] , \"e\" : 0.10 }";
	struct buf out = BUF_EMPTY;

	(void)state;
	json_add_compact(&out, (struct span){text, strlen(text)});
	assert_string_equal(out.bytes, "{\"a b\":[1,\"c \\\" d\\\\\"],\"e\":0.10}");
	buf_free(&out);
}

static void escapes_what_a_string_cannot_hold(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	json_add_string(&out, "a\"b\\c\n\x01/\xc3\xa9", 10);
	assert_string_equal(out.bytes, "\"a\\\"b\\\\c\\u000a\\u0001/\xc3\xa9\"");
	buf_clear(&out);
	json_add_string(&out, "\x1f !~\x7f", 5);
	assert_string_equal(out.bytes, "\"\\u001f !~\x7f\"");
	buf_free(&out);
}

/* The bounds of UTF-8's lengths, as escapes. */
static void what_is_escaped_is_what_it_stands_for(void **state)
{
	static const char text[] =
		"\"\\\"\\\\\\/"
		"\\b\\f\\n\\r\\t\\u007f\\u0080\\u07ff\\u0800\\uffff\\ud800\\udc00\\ud83d\\ude00\\udbff\\udfff\"";
	struct json_object *root = NULL;
	const char *problem = NULL;

	(void)state;
	assert_int_equal(json_read(&root, text, strlen(text), &problem), OK);
	assert_string_equal(
		json_object_get_string(root),
		"\"\\/\b\f\n\r\t\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf0\x9f\x98\x80"
		"\xf4\x8f\xbf\xbf");
	json_object_put(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_all_that_is_json),
		cmocka_unit_test(refuses_what_is_not_json),
		cmocka_unit_test(what_is_escaped_is_what_it_stands_for),
		cmocka_unit_test(says_what_python_and_javascript_write_wrong),
		cmocka_unit_test(refuses_what_follows_after_the_end),
		cmocka_unit_test(refuses_what_is_not_utf8),
		cmocka_unit_test(refuses_a_nul_in_any_disguise),
		cmocka_unit_test(refuses_a_key_that_comes_twice),
		cmocka_unit_test(counts_the_levels),
		cmocka_unit_test(walks_the_values_as_they_were_written),
		cmocka_unit_test(walks_lists_of_texts_and_empty_ones),
		cmocka_unit_test(compares_values_not_their_writing),
		cmocka_unit_test(drops_space_only_between_parts),
		cmocka_unit_test(escapes_what_a_string_cannot_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
