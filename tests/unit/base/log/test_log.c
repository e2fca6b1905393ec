#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log/log.h"

static const char *quote(const char *text)
{
	static char out[200];

	return log_quote(out, sizeof(out), text, strlen(text));
}

static void leaves_a_plain_value_as_it_is(void **state)
{
	(void)state;
	assert_string_equal(quote("diagnosis/123"), "diagnosis/123");
	assert_string_equal(quote("a@b.org"), "a@b.org");
}

static void quotes_and_escapes_the_rest(void **state)
{
	char out[32];

	(void)state;
	assert_string_equal(quote(""), "\"\"");
	assert_string_equal(quote("two words"), "\"two words\"");
	assert_string_equal(quote("a=b"), "\"a=b\"");
	assert_string_equal(quote("x\n2026 forged"), "\"x\\x0a2026 forged\"");
	assert_string_equal(quote("\"\\\x1b\x7f\xc3\xa9"), "\"\\x22\\x5c\\x1b\\x7f\\xc3\\xa9\"");
	assert_string_equal(log_quote(out, sizeof(out), "a\0b", 3), "\"a\\x00b\"");
}

static void cuts_what_is_too_long_between_two_characters(void **state)
{
	char out[10];

	(void)state;
	assert_string_equal(log_quote(out, sizeof(out), "abcdefghijklm", 13), "\"abcdefg\"");
	assert_string_equal(log_quote(out, sizeof(out), "abcd\nfgh", 8), "\"abcd\"");
	assert_string_equal(log_quote(out, sizeof(out), "abcdefghi", 9), "abcdefghi");
}

/* What one call writes to stderr. */
static size_t written(char *out, size_t size, enum log_level level, const char *text)
{
	int saved = dup(STDERR_FILENO);
	int ends[2];
	ssize_t n = 0;

	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	log_write(level, "%s", text);
	dup2(saved, STDERR_FILENO);
	close(ends[1]);
	n = read(ends[0], out, size - 1);
	close(ends[0]);
	close(saved);
	assert_true(n >= 0);
	out[n] = '\0';
	return (size_t)n;
}

/* In the environment as long as log_open() looks. */
static void open_with_stream(int descriptor, ino_t more)
{
	char stream[64];
	struct stat at;

	assert_int_equal(fstat(descriptor, &at), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)at.st_dev, (uintmax_t)(at.st_ino + more));
	setenv("JOURNAL_STREAM", stream, 1);
	log_open("prog", LOG_INFO_, 0);
	unsetenv("JOURNAL_STREAM");
}

static void to_the_journal_a_line_brings_its_priority_and_nothing_that_the_journal_knows(void **state)
{
	static const struct {
		enum log_level level;
		const char *line;
	} cases[] = {{LOG_ERROR_, "<3>x y=1\n"},
		     {LOG_WARNING_, "<4>x y=1\n"},
		     {LOG_AUDIT_, "<5>x y=1\n"},
		     {LOG_NOTICE_, "<5>x y=1\n"},
		     {LOG_INFO_, "<6>x y=1\n"}};
	char line[4096];

	(void)state;
	open_with_stream(STDERR_FILENO, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		written(line, sizeof(line), cases[i].level, "x y=1");
		assert_string_equal(line, cases[i].line);
	}
	/* A child of a service, whose stderr is a file. */
	open_with_stream(STDERR_FILENO, 1);
	written(line, sizeof(line), LOG_NOTICE_, "x y=1");
	assert_non_null(strstr(line, "] notice: x y=1\n"));
}

static void writes_one_line_with_time_program_and_level(void **state)
{
	char line[4096];

	(void)state;
	log_open("prog", LOG_INFO_, 0);
	written(line, sizeof(line), LOG_NOTICE_, "listening port=8001");
	assert_int_equal(line[10], 'T');
	assert_memory_equal(line + 23, "Z prog[", 7);
	assert_non_null(strstr(line, "] notice: listening port=8001\n"));
}

static void a_line_break_in_a_message_makes_no_second_line(void **state)
{
	char line[4096];

	(void)state;
	log_open("prog", LOG_INFO_, 0);
	written(line, sizeof(line), LOG_ERROR_, "a\nb\rc");
	assert_non_null(strstr(line, "error: a b c\n"));
}

static void cuts_a_line_that_is_too_long(void **state)
{
	char text[4000];
	char line[4096];
	size_t len = 0;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_open("prog", LOG_INFO_, 0);
	len = written(line, sizeof(line), LOG_ERROR_, text);
	assert_true(len > 1000 && len <= 2048);
	assert_int_equal(line[len - 1], '\n');
	assert_int_equal(line[len - 2], 'x');
}

static void is_silent_over_its_level(void **state)
{
	char line[4096];

	(void)state;
	log_open("prog", LOG_WARNING_, 0);
	assert_int_equal(written(line, sizeof(line), LOG_NOTICE_, "no"), 0);
	assert_true(written(line, sizeof(line), LOG_WARNING_, "yes") > 0);
	log_open("prog", LOG_OFF_, 0);
	assert_int_equal(written(line, sizeof(line), LOG_ERROR_, "no"), 0);
}

static void a_line_says_what_it_is_about(void **state)
{
	const struct log_subject all = {"0f0f", "two words", "2001:db8::1", "a-1", "4bf92f3577b34da6a3ce929d0e0e4736"};
	const struct log_subject few = {.request_id = "b-2"};
	char line[4096];

	(void)state;
	log_open("prog", LOG_INFO_, 0);
	log_set_subject(&all);
	written(line, sizeof(line), LOG_NOTICE_, "x y=1");
	assert_non_null(strstr(line, ": x y=1 connection=0f0f user=\"two words\" client=2001:db8::1 request=a-1 "
				     "trace=4bf92f3577b34da6a3ce929d0e0e4736\n"));
	log_set_subject(&few);
	written(line, sizeof(line), LOG_NOTICE_, "x");
	assert_non_null(strstr(line, ": x request=b-2\n"));
	log_set_subject(NULL);
	written(line, sizeof(line), LOG_NOTICE_, "x");
	assert_non_null(strstr(line, ": x\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaves_a_plain_value_as_it_is),
		cmocka_unit_test(quotes_and_escapes_the_rest),
		cmocka_unit_test(cuts_what_is_too_long_between_two_characters),
		cmocka_unit_test(to_the_journal_a_line_brings_its_priority_and_nothing_that_the_journal_knows),
		cmocka_unit_test(writes_one_line_with_time_program_and_level),
		cmocka_unit_test(a_line_break_in_a_message_makes_no_second_line),
		cmocka_unit_test(cuts_a_line_that_is_too_long),
		cmocka_unit_test(is_silent_over_its_level),
		cmocka_unit_test(a_line_says_what_it_is_about),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
