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
#include "base/process/settings_file.h"

/* A program that was started with a file, and with what was in the environment besides. */
struct started {
	char path[64];
	struct config config;
	struct settings_file *file;
};

static void save(const struct started *s, const char *text)
{
	FILE *f = fopen(s->path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void forget_settings(void)
{
	static const char *const names[] = {"TIDINGS_ENVIRONMENT_FILE", "TIDINGS_PUBLISH_RATE", "TIDINGS_WS_PORT",
					    "TIDINGS_DATABASE"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unsetenv(names[i]);
}

/* As systemd would: what is in the file is in the environment too. */
static void start(struct started *s, const char *text)
{
	struct buf problems = BUF_EMPTY;
	int fd = -1;

	*s = (struct started){.path = "/tmp/tidings-settings-XXXXXX"};
	fd = mkstemp(s->path);
	assert_true(fd >= 0);
	close(fd);
	save(s, text);
	setenv("TIDINGS_ENVIRONMENT_FILE", s->path, 1);
	assert_int_equal(config_read(&s->config, environ, &problems), OK);
	assert_int_equal(settings_file_open(&s->file, &s->config), OK);
}

static void stop(struct started *s)
{
	settings_file_close(&s->file);
	assert_null(s->file);
	unlink(s->path);
	forget_settings();
}

/* What the log says of a reload by this text: copied. */
static void reload(struct started *s, const char *text, char said[1024])
{
	int kept = dup(STDERR_FILENO), to[2];
	ssize_t len = 0;

	save(s, text);
	assert_int_equal(pipe(to), 0);
	dup2(to[1], STDERR_FILENO);
	settings_file_reload(s->file);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(to[1]);
	len = read(to[0], said, 1023);
	said[len > 0 ? len : 0] = '\0';
	close(to[0]);
}

static void takes_over_what_is_reloaded_and_goes_back_to_the_default_where_a_line_is_gone(void **state)
{
	struct started s;
	char said[1024];

	(void)state;
	setenv("TIDINGS_PUBLISH_RATE", "70", 1);
	start(&s, "# rates\nTIDINGS_PUBLISH_RATE=70\n");
	reload(&s, "TIDINGS_PUBLISH_RATE=8\nTIDINGS_ALLOWED_ORIGINS=https://a.example\n", said);
	assert_int_equal(s.config.publish_rate_per_s, 8);
	assert_string_equal(s.config.allowed_origins, "https://a.example");
	assert_non_null(strstr(said, "from now on TIDINGS_PUBLISH_RATE=8\n"));
	reload(&s, "; nothing\n\n", said);
	assert_int_equal(s.config.publish_rate_per_s, 50);
	assert_null(s.config.allowed_origins);
	assert_non_null(strstr(said, "from now on TIDINGS_ALLOWED_ORIGINS=\n"));
	reload(&s, "", said);
	assert_string_equal(said, "");
	stop(&s);
}

static void what_the_file_has_nothing_to_do_with_stays_as_the_environment_has_it(void **state)
{
	struct started s;
	char said[1024];

	(void)state;
	setenv("TIDINGS_PUBLISH_RATE", "70", 1);
	start(&s, "TIDINGS_PUBLISH_BURST=90\n");
	reload(&s, "TIDINGS_PUBLISH_BURST=91\n", said);
	assert_int_equal(s.config.publish_rate_per_s, 70);
	assert_int_equal(s.config.publish_burst, 91);
	stop(&s);
}

static void says_of_what_a_reload_cannot_change_that_it_has_changed_and_of_nothing_else(void **state)
{
	struct started s;
	char said[1024];

	(void)state;
	/* One more sidecar has a port of its own, whatever the file says. */
	setenv("TIDINGS_WS_PORT", "8002", 1);
	start(&s, "TIDINGS_WS_PORT=8001\n");
	reload(&s, "TIDINGS_WS_PORT=8001\n", said);
	assert_string_equal(said, "");
	reload(&s, "TIDINGS_WS_PORT=8001\nTIDINGS_DATABASE='host=h password=x'\n", said);
	assert_non_null(strstr(said, "warning: TIDINGS_DATABASE has changed: that counts from the next start on\n"));
	assert_null(strstr(said, "password"));
	assert_null(strstr(said, "TIDINGS_WS_PORT"));
	assert_string_equal(s.config.database, "dbname=tidings");
	assert_int_equal(s.config.ws_port, 8002);
	stop(&s);
}

static void takes_nothing_over_of_a_file_in_which_something_is_wrong_and_says_what(void **state)
{
	static const struct {
		const char *text, *said;
	} wrong[] = {
		{"TIDINGS_PUBLISH_RATE=8\nTIDINGS_QUEUE_MAX=many\n", "TIDINGS_QUEUE_MAX must be a whole number"},
		{"TIDINGS_PUBLISH_RATE=8\nTIDINGS_NO_SUCH=1\n", "TIDINGS_NO_SUCH is not an option"},
		{"TIDINGS_PUBLISH_RATE=8\nexport TIDINGS_QUEUE_MAX=5\n", "line 2 is not NAME=value"},
		{"TIDINGS_PUBLISH_RATE=8\n\nTIDINGS_DATABASE='x\n", "line 3 is not NAME=value"},
		{"TIDINGS_PUBLISH_RATE=8\nTIDINGS_DATABASE=\"x\n", "line 2 is not NAME=value"},
		{"=8\n", "line 1 is not NAME=value"},
	};
	struct started s;
	char said[1024];

	(void)state;
	start(&s, "");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		reload(&s, wrong[i].text, said);
		assert_non_null(strstr(said, "error: "));
		assert_non_null(strstr(said, wrong[i].said));
		assert_int_equal(s.config.publish_rate_per_s, 50);
	}
	reload(&s, "TIDINGS_PUBLISH_RATE=8\n", said);
	assert_int_equal(s.config.publish_rate_per_s, 8);
	chmod(s.path, 0666);
	reload(&s, "TIDINGS_PUBLISH_RATE=9\n", said);
	assert_non_null(strstr(said, "written by every user"));
	unlink(s.path);
	settings_file_reload(s.file);
	assert_int_equal(s.config.publish_rate_per_s, 8);
	stop(&s);
}

/* As systemd.exec(5) and a shell both do. */
static void reads_quotes_blanks_and_lines_that_go_on(void **state)
{
	static const struct {
		const char *text, *value;
	} lines[] = {
		{"TIDINGS_ALLOWED_ORIGINS=a", "a"},
		{"  TIDINGS_ALLOWED_ORIGINS=a  \r\n", "a"},
		{"TIDINGS_ALLOWED_ORIGINS='a b'\n", "a b"},
		{"TIDINGS_ALLOWED_ORIGINS='a '\t\n", "a "},
		{"TIDINGS_ALLOWED_ORIGINS=\"a \\\"b\\\" \\c\"\n", "a \"b\" \\c"},
		{"TIDINGS_ALLOWED_ORIGINS='it'\\''s'\n", "it's"},
		{"TIDINGS_ALLOWED_ORIGINS=a,\\\nb\n", "a,b"},
		{"TIDINGS_ALLOWED_ORIGINS=\"a,\\\nb\"\n", "a,b"},
		{"TIDINGS_ALLOWED_ORIGINS=a\\ \n", "a "},
		{"PGPASSFILE=/x\nTIDINGS_ALLOWED_ORIGINS=a\nTIDINGS_ALLOWED_ORIGINS=b\n", "b"},
		{"TIDINGS_ALLOWED_ORIGINS=a=b;c#d\n", "a=b;c#d"},
	};
	struct started s;
	char said[1024];

	(void)state;
	start(&s, "");
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		reload(&s, lines[i].text, said);
		assert_string_equal(s.config.allowed_origins, lines[i].value);
	}
	reload(&s, "TIDINGS_ALLOWED_ORIGINS=\n", said);
	assert_null(s.config.allowed_origins);
	stop(&s);
}

static void the_level_of_the_log_counts_from_then_on(void **state)
{
	struct started s;
	char said[1024];

	(void)state;
	start(&s, "");
	reload(&s, "TIDINGS_LOG_LEVEL=error\n", said);
	assert_non_null(strstr(said, "from now on TIDINGS_LOG_LEVEL=error\n"));
	reload(&s, "TIDINGS_LOG_LEVEL=error\nTIDINGS_PUBLISH_RATE=8\n", said);
	assert_string_equal(said, "");
	assert_int_equal(s.config.publish_rate_per_s, 8);
	reload(&s, "", said);
	assert_int_equal(s.config.log_level, 3);
	stop(&s);
	log_set_level(LOG_INFO_);
}

static void a_file_that_is_not_there_is_a_wrong_setting_and_none_is_no_reload(void **state)
{
	struct buf problems = BUF_EMPTY;
	struct settings_file *f = NULL;
	struct config c;

	(void)state;
	assert_int_equal(config_read(&c, environ, &problems), OK);
	assert_int_equal(settings_file_open(&f, &c), OK);
	assert_null(f);
	settings_file_reload(f);
	settings_file_close(&f);
	c.environment_file = "/nowhere/tidings.env";
	assert_int_equal(settings_file_open(&f, &c), ERR_CONFIG);
	assert_null(f);
	c.environment_file = "/";
	assert_int_equal(settings_file_open(&f, &c), ERR_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_over_what_is_reloaded_and_goes_back_to_the_default_where_a_line_is_gone),
		cmocka_unit_test(what_the_file_has_nothing_to_do_with_stays_as_the_environment_has_it),
		cmocka_unit_test(says_of_what_a_reload_cannot_change_that_it_has_changed_and_of_nothing_else),
		cmocka_unit_test(takes_nothing_over_of_a_file_in_which_something_is_wrong_and_says_what),
		cmocka_unit_test(reads_quotes_blanks_and_lines_that_go_on),
		cmocka_unit_test(the_level_of_the_log_counts_from_then_on),
		cmocka_unit_test(a_file_that_is_not_there_is_a_wrong_setting_and_none_is_no_reload),
	};

	forget_settings();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
