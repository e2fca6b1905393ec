#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/topic/message.h"

static void assert_message(uint64_t seq, const char *body, const char *expected)
{
	struct buf out = BUF_EMPTY;

	message_add(&out, seq, NULL, (struct span){body, strlen(body)});
	assert_true(buf_ok(&out));
	assert_int_equal(out.len, strlen(expected));
	assert_string_equal(out.bytes, expected);
	buf_free(&out);
}

static void puts_the_seq_in_front(void **state)
{
	(void)state;
	assert_message(7, "{\"type\":\"x\",\"data\":{}}", "{\"seq\":7,\"type\":\"x\",\"data\":{}}");
	assert_message(0, "{\"a\":1}", "{\"seq\":0,\"a\":1}");
}

static void an_empty_object_gets_no_comma(void **state)
{
	(void)state;
	assert_message(7, "{}", "{\"seq\":7}");
}

static void the_seq_of_a_text_is_what_was_put_in_front(void **state)
{
	static const uint64_t seqs[] = {1, 7, 1234567890, INT64_MAX};

	(void)state;
	assert_message(UINT64_MAX, "{\"a\":1}", "{\"seq\":18446744073709551615,\"a\":1}");
	for (size_t i = 0; i < ARRAY_LEN(seqs); i++) {
		struct buf out = BUF_EMPTY;

		message_add(&out, seqs[i], "abc", (struct span){"{}", 2});
		assert_int_equal(message_seq((struct span){out.bytes, out.len}), seqs[i]);
		buf_free(&out);
	}
	assert_int_equal(message_seq((struct span){"{\"type\":\"seq\"}", 14}), 0);
	assert_int_equal(message_seq((struct span){"{\"seq\":", 7}), 0);
	assert_int_equal(message_seq((struct span){"{\"seq\":12", 8}), 1);
	assert_int_equal(message_seq((struct span){0}), 0);
}

static void adds_behind_what_is_there_with_the_cursor_and_copies_no_more_than_the_body(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	buf_add_text(&out, "[");
	message_add(&out, 1, "abc", (struct span){"{\"a\":1}}}}", 7});
	assert_string_equal(out.bytes, "[{\"seq\":1,\"cursor\":\"abc-1\",\"a\":1}");
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(puts_the_seq_in_front),
		cmocka_unit_test(an_empty_object_gets_no_comma),
		cmocka_unit_test(the_seq_of_a_text_is_what_was_put_in_front),
		cmocka_unit_test(adds_behind_what_is_there_with_the_cursor_and_copies_no_more_than_the_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
