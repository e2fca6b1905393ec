#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/log/log_text.h"

static const char *composed(enum log_taker taker, enum log_format format, enum log_level level, const char *message)
{
	static char line[LOG_LINE_SIZE + 1];
	const struct log_text_style style = {"prog", format, taker};

	line[log_text_compose(line, &style, level, (struct span){message, strlen(message)})] = '\0';
	return line;
}

static void json_has_time_level_program_and_process_whoever_takes_it(void **state)
{
	static const struct {
		enum log_taker taker;
		const char *before, *after;
	} cases[] = {{LOG_TAKER_FILE, "", "\n"}, {LOG_TAKER_JOURNAL, "<4>", "\n"}, {LOG_TAKER_SYSLOG, "", ""}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *line = composed(cases[i].taker, LOG_FORMAT_JSON, LOG_WARNING_, "it is so port=8001");
		size_t before = strlen(cases[i].before);
		const char *pid = strstr(line, ",\"pid\":");

		assert_memory_equal(line, cases[i].before, before);
		assert_memory_equal(line + before, "{\"time\":\"20", 11);
		assert_non_null(strstr(line, "Z\",\"level\":\"warning\",\"program\":\"prog\",\"pid\":"));
		assert_non_null(pid);
		pid += 7;
		pid += strspn(pid, "0123456789");
		assert_memory_equal(pid, ",\"msg\":\"it is so\",\"port\":\"8001\"}", 32);
		assert_string_equal(pid + 32, cases[i].after);
	}
}

static void a_line_that_is_too_long_is_an_object_all_the_same(void **state)
{
	char message[LOG_LINE_SIZE];
	const char *line;

	(void)state;
	memset(message, '"', sizeof(message) - 1);
	message[sizeof(message) - 1] = '\0';
	line = composed(LOG_TAKER_JOURNAL, LOG_FORMAT_JSON, LOG_ERROR_, message);
	assert_true(strlen(line) <= LOG_LINE_SIZE);
	assert_string_equal(line + strlen(line) - 15, "\"\",\"cut\":true}\n");
}

static void syslog_gets_the_message_alone(void **state)
{
	(void)state;
	assert_string_equal(composed(LOG_TAKER_SYSLOG, LOG_FORMAT_LOGFMT, LOG_AUDIT_, "audit\nevent=x"),
			    "audit event=x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_has_time_level_program_and_process_whoever_takes_it),
		cmocka_unit_test(a_line_that_is_too_long_is_an_object_all_the_same),
		cmocka_unit_test(syslog_gets_the_message_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
