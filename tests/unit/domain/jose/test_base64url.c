#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/jose/base64url.h"

static void writes_the_examples_of_rfc_4648_without_padding_and_reads_them_again(void **state)
{
	static const struct {
		const char *bytes;
		const char *text;
	} cases[] = {{"", ""},		 {"f", "Zg"},	       {"fo", "Zm8"},	       {"foo", "Zm9v"},
		     {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xef\xff", "--__"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out = BUF_EMPTY;
		char back[16];
		size_t len = 0;

		base64url_add(&out, cases[i].bytes, strlen(cases[i].bytes));
		assert_string_equal(out.bytes ? out.bytes : "", cases[i].text);
		assert_true(base64url_decode(back, sizeof(back), (struct span){cases[i].text, strlen(cases[i].text)},
					     &len));
		assert_int_equal(len, strlen(cases[i].bytes));
		assert_memory_equal(back, cases[i].bytes, len);
		buf_free(&out);
	}
}

static void reads_neither_the_other_alphabet_nor_padding_nor_half_a_byte_nor_what_does_not_fit(void **state)
{
	static const char *const texts[] = {"Zm+v", "Zm/v", "Zg==", "Z", "Zm9vY", "Zm 9", "Zm9v\n", "Zm9vYmFyZm9v"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		char out[10];
		size_t len = 0;

		assert_false(base64url_decode(out, sizeof(out), (struct span){texts[i], strlen(texts[i])}, &len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_the_examples_of_rfc_4648_without_padding_and_reads_them_again),
		cmocka_unit_test(reads_neither_the_other_alphabet_nor_padding_nor_half_a_byte_nor_what_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
