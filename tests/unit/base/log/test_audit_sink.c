#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log/audit.h"
#include "base/log/audit_sink.h"
#include "base/log/log.h"

static char folder[] = "/tmp/tidings-unit-XXXXXX";
static char path[64], moved[64];

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/audit.log", folder);
	snprintf(moved, sizeof(moved), "%s/audit.log.1", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	unlink(moved);
	return rmdir(folder);
}

static const char *content(const char *file)
{
	static char text[8192];
	FILE *f = fopen(file, "r");
	size_t len = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (f)
		fclose(f);
	text[len] = '\0';
	return text;
}

static void audit(const char *event)
{
	audit_write(event, &(struct audit){.user_id = "456", .outcome = "ok"});
}

/* In a process of its own: a sink is opened once. Its stderr is in `path`.err. Returns its exit status. */
static int in_child(const char *where, void (*steps)(void), char *said, size_t size)
{
	int ends[2], status = 0;
	ssize_t n = 0;
	size_t len = 0;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		struct buf problem = BUF_EMPTY;

		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		log_open("prog", LOG_INFO_, 0);
		if (audit_sink_open("prog", where, LOG_FORMAT_LOGFMT, &problem) != OK) {
			fputs(problem.bytes, stderr);
			_exit(2);
		}
		steps();
		exit(0);
	}
	close(ends[1]);
	while ((n = read(ends[0], said + len, size - 1 - len)) > 0)
		len += (size_t)n;
	said[len] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void write_some(void)
{
	if (audit_sink_start_writer(NULL) != OK)
		_exit(3);
	audit("first");
	audit("second");
	log_notice("something else");
}

static void the_trail_is_in_its_file_and_the_log_where_it_was(void **state)
{
	char said[4096];

	(void)state;
	assert_int_equal(in_child(path, write_some, said, sizeof(said)), 0);
	assert_non_null(strstr(content(path), "Z prog["));
	assert_non_null(strstr(content(path), " notice: audit event=first user=456 outcome=ok\n"));
	assert_non_null(strstr(content(path), " notice: audit event=second user=456 outcome=ok\n"));
	assert_null(strstr(content(path), "something else"));
	assert_null(strstr(said, "audit"));
	assert_non_null(strstr(said, "notice: something else\n"));
	unlink(path);
}

static void write_and_move(void)
{
	audit("before");
	if (rename(path, moved) != 0)
		_exit(3);
	audit("between");
	audit_sink_reopen();
	audit("after");
}

static void a_file_that_was_moved_is_begun_anew_when_that_is_asked_for(void **state)
{
	char said[4096];

	(void)state;
	assert_int_equal(in_child(path, write_and_move, said, sizeof(said)), 0);
	assert_non_null(strstr(content(moved), "event=before "));
	assert_non_null(strstr(content(moved), "event=between "));
	assert_null(strstr(content(moved), "event=after "));
	assert_non_null(strstr(content(path), "event=after "));
	assert_null(strstr(content(path), "event=before "));
	unlink(path);
	unlink(moved);
}

static void write_and_wait(void)
{
	write_some();
	while (audit_sink_lost() < 2)
		usleep(1000);
	fprintf(stderr, "lost %d\n", (int)audit_sink_lost());
}

static void a_full_disk_is_said_once_and_what_is_lost_is_counted(void **state)
{
	char said[4096];
	const char *once;

	(void)state;
	assert_int_equal(in_child("/dev/full", write_and_wait, said, sizeof(said)), 0);
	once = strstr(said, "error: the audit trail cannot be written: its lines are lost place=/dev/full lost=0 "
			    "why=\"No space left on device\"\n");
	assert_non_null(once);
	assert_null(strstr(once + strlen("error: the audit trail cannot"), "cannot be written"));
	assert_non_null(strstr(said, "lost 2\n"));
	assert_non_null(strstr(said, "something else"));
}

static void set_file_size_max(rlim_t max)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) != 0)
		_exit(3);
	limit.rlim_cur = max;
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		_exit(3);
}

/* A limit does what a disk does that is full, and has room again. */
static void write_while_there_is_room(void)
{
	struct stat at = {0};

	signal(SIGXFSZ, SIG_IGN);
	if (audit_sink_start_writer(NULL) != OK)
		_exit(3);
	audit("first");
	while (at.st_size == 0)
		(void)stat(path, &at);
	set_file_size_max((rlim_t)at.st_size + 10);
	audit("second");
	while (audit_sink_lost() < 1)
		usleep(1000);
	set_file_size_max(RLIM_INFINITY);
	audit("third");
}

static void what_a_full_disk_has_left_of_a_line_is_a_line_and_what_was_lost_is_told_behind_it(void **state)
{
	const char *third, *rest;
	char said[4096];

	(void)state;
	assert_int_equal(in_child(path, write_while_there_is_room, said, sizeof(said)), 0);
	rest = strstr(content(path), "event=first user=456 outcome=ok\n");
	assert_non_null(rest);
	rest = strchr(rest, '\n') + 1;
	assert_int_equal(strcspn(rest, "\n"), 10);
	third = strstr(rest, "event=third user=456 outcome=ok\n");
	assert_non_null(third);
	assert_null(strstr(rest, "event=second"));
	assert_non_null(strstr(third, " notice: audit event=lost lines=1\n"));
	assert_non_null(strstr(said, "error: the audit trail cannot be written"));
	assert_non_null(strstr(said, "notice: the audit trail is written again place="));
	assert_non_null(strstr(said, " lost=1\n"));
	unlink(path);
}

static void nothing(void)
{
}

static void a_file_that_nobody_can_write_is_told_at_the_start(void **state)
{
	char said[4096];

	(void)state;
	assert_int_equal(in_child("/nowhere/at/all", nothing, said, sizeof(said)), 2);
	assert_string_equal(said, "TIDINGS_AUDIT_LOG: /nowhere/at/all: No such file or directory\n");
	assert_int_equal(in_child(folder, nothing, said, sizeof(said)), 2);
}

static void only_a_path_syslog_and_the_journal_are_places(void **state)
{
	(void)state;
	assert_true(audit_sink_valid("/var/log/tidings/audit.log"));
	assert_true(audit_sink_valid("syslog"));
	assert_true(audit_sink_valid("journal"));
	assert_false(audit_sink_valid("audit.log"));
	assert_false(audit_sink_valid("stderr"));
	assert_false(audit_sink_valid("syslog "));
}

static void each_pair_is_a_field_of_the_journal(void **state)
{
	static const char message[] = "audit event=publish user=\"a\\x0ab\"";
	static const char wanted[] = "PRIORITY=5\nSYSLOG_FACILITY=10\nSYSLOG_IDENTIFIER=prog\n"
				     "MESSAGE\n\x21\0\0\0\0\0\0\0audit event=publish user=\"a\\x0ab\"\n"
				     "TIDINGS_EVENT\n\x07\0\0\0\0\0\0\0publish\n"
				     "TIDINGS_USER\n\x03\0\0\0\0\0\0\0a\nb\n";
	struct buf out = BUF_EMPTY;

	(void)state;
	audit_sink_write_native(&out, "prog", (struct span){message, sizeof(message) - 1});
	assert_true(buf_ok(&out));
	assert_int_equal(out.len, sizeof(wanted) - 1);
	assert_memory_equal(out.bytes, wanted, out.len);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_trail_is_in_its_file_and_the_log_where_it_was),
		cmocka_unit_test(a_file_that_was_moved_is_begun_anew_when_that_is_asked_for),
		cmocka_unit_test(a_full_disk_is_said_once_and_what_is_lost_is_counted),
		cmocka_unit_test(what_a_full_disk_has_left_of_a_line_is_a_line_and_what_was_lost_is_told_behind_it),
		cmocka_unit_test(a_file_that_nobody_can_write_is_told_at_the_start),
		cmocka_unit_test(only_a_path_syslog_and_the_journal_are_places),
		cmocka_unit_test(each_pair_is_a_field_of_the_journal),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
