#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/defs.h"
#include "domain/caller/user_id.h"

static void assert_json(const char *user_id, const char *json)
{
	struct buf out = BUF_EMPTY;

	user_id_add_json(&out, user_id);
	assert_string_equal(out.bytes, json);
	buf_free(&out);
}

static void writes_an_integer_where_the_id_is_one(void **state)
{
	(void)state;
	assert_json("456", "456");
	assert_json("0", "0");
	assert_json("-5", "-5");
	assert_json("999999999999999", "999999999999999");
	assert_json(NULL, "null");
}

static void writes_text_where_an_integer_would_not_be_the_same(void **state)
{
	(void)state;
	assert_json("ada", "\"ada\"");
	assert_json("007", "\"007\"");
	assert_json("-0", "\"-0\"");
	assert_json("-", "\"-\"");
	assert_json("1.5", "\"1.5\"");
	assert_json("9999999999999999", "\"9999999999999999\"");
	assert_json("a\"b", "\"a\\\"b\"");
}

static void knows_what_an_id_may_be(void **state)
{
	char longest[130];

	(void)state;
	memset(longest, 'x', sizeof(longest));
	assert_true(user_id_valid(longest, 128));
	assert_false(user_id_valid(longest, 129));
	assert_true(user_id_valid("caf\xc3\xa9 1", 7));
	assert_false(user_id_valid("", 0));
	assert_false(user_id_valid("a\nb", 3));
	assert_false(user_id_valid("a\x7f", 2));
	assert_false(user_id_valid("\xff", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_an_integer_where_the_id_is_one),
		cmocka_unit_test(writes_text_where_an_integer_would_not_be_the_same),
		cmocka_unit_test(knows_what_an_id_may_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
