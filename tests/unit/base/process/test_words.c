#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/process/words.h"

static void a_word_is_found_whole(void **state)
{
	(void)state;
	assert_int_equal(words_index("no|yes", "no"), 0);
	assert_int_equal(words_index("no|yes", "yes"), 1);
	assert_int_equal(words_index("no|yes", "ye"), -1);
	assert_int_equal(words_index("no|yes", "no|yes"), -1);
	assert_int_equal(words_index("no|yes", ""), -1);
}

static void words_are_counted_and_each_is_at_its_place(void **state)
{
	struct span word = words_at("a|bc|d", 1);

	(void)state;
	assert_int_equal(words_count("a|bc|d"), 3);
	assert_int_equal(words_count(""), 1);
	assert_int_equal(word.len, 2);
	assert_memory_equal(word.bytes, "bc", 2);
	assert_int_equal(words_at("a|bc|d", 2).len, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_word_is_found_whole),
		cmocka_unit_test(words_are_counted_and_each_is_at_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
