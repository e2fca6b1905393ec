#include <errno.h>
#include <fcntl.h>
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

#include "base/defs.h"
#include "base/metrics/metrics_file.h"

enum { OPENED, USERS, REQUESTS };

static const struct metric table[] = {
	{METRIC_COUNTER, "t_opened_total", "Opened.", {NULL}, {NULL}},
	{METRIC_GAUGE, "t_users", "Users.", {NULL}, {NULL}},
	{METRIC_COUNTER, "t_requests_total", "Requests.", {"route"}, {METRIC_GIVEN}},
};

static const struct metric newer_table[] = {
	{METRIC_COUNTER, "t_opened_total", "Opened.", {NULL}, {NULL}},
};

static char folder[] = "/tmp/tidings-metrics-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static void path_of(char path[100], const char *program, int number)
{
	snprintf(path, 100, "%s/%s.%d.metrics", folder, program, number);
}

static bool is_there(const char *program, int number)
{
	char path[100];

	path_of(path, program, number);
	return access(path, F_OK) == 0;
}

static int remove_folder(void **state)
{
	static const char *const programs[] = {"one",	"two",	  "old",  "cut",    "words",
					       "newer", "spoilt", "full", "foreign"};
	char path[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		for (int number = 0; number < 3; number++) {
			path_of(path, programs[i], number);
			unlink(path);
		}
	}
	return rmdir(folder);
}

static void open_ok(struct metrics *m, const struct metric *of, unsigned count, const char *program, const char *given)
{
	struct buf problem = BUF_EMPTY;

	assert_int_equal(metrics_file_open(m, of, count, folder, program, given, &problem), OK);
	assert_int_equal(problem.len, 0);
	buf_free(&problem);
}

struct sum {
	struct metrics metrics;
	metric_number numbers[64];
	struct buf given;
};

static enum err sum_of(struct sum *s, const char *program)
{
	memset(s, 0, sizeof(*s));
	metrics_init(&s->metrics, table, ARRAY_LEN(table), s->numbers, false);
	return metrics_file_sum(&s->metrics, folder, program, &s->given);
}

static int64_t number(const struct sum *s, unsigned metric, unsigned i)
{
	return (int64_t)atomic_load(metrics_number(&s->metrics, metric, i, 0));
}

/* A process that counts 5, is at 3, and ends as it likes. */
static void count_in_a_process(const char *program, int how_often)
{
	for (int i = 0; i < how_often; i++) {
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0) {
			struct metrics m;

			open_ok(&m, table, ARRAY_LEN(table), program, "none|/a");
			metrics_add(&m, OPENED, 0, 0, 5);
			metrics_add(&m, USERS, 0, 0, 3);
			metrics_add(&m, REQUESTS, 1, 0, 1);
			_exit(0);
		}
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
}

static void what_processes_have_counted_that_ended_stays_in_one_file(void **state)
{
	struct sum s;

	(void)state;
	count_in_a_process("one", 3);
	assert_int_equal(sum_of(&s, "one"), OK);
	assert_string_equal(s.given.bytes, "none|/a");
	assert_int_equal(number(&s, OPENED, 0), 15);
	assert_int_equal(number(&s, REQUESTS, 1), 3);
	assert_int_equal(number(&s, USERS, 0), 0); /* nobody lives */
	assert_true(is_there("one", 0));
	assert_false(is_there("one", 1));
	buf_free(&s.given);
}

static void two_that_live_have_a_file_each_and_are_added_up_gauges_too(void **state)
{
	struct metrics a, b;
	struct sum s;

	(void)state;
	count_in_a_process("two", 1);
	open_ok(&a, table, ARRAY_LEN(table), "two", "none|/a");
	open_ok(&b, table, ARRAY_LEN(table), "two", "none|/a");
	metrics_add(&a, OPENED, 0, 0, 1);
	metrics_add(&b, OPENED, 0, 0, 1);
	metrics_add(&a, USERS, 0, 0, 2);
	metrics_add(&b, USERS, 0, 0, 2);
	assert_true(is_there("two", 1));
	assert_int_equal(sum_of(&s, "two"), OK);
	assert_int_equal(number(&s, OPENED, 0), 7);
	assert_int_equal(number(&s, USERS, 0), 4);
	buf_free(&s.given);
}

static void a_file_of_another_table_is_not_read_and_begins_anew_where_nobody_counts_in_it(void **state)
{
	struct metrics m;
	struct sum s;

	(void)state;
	count_in_a_process("old", 1);
	{
		pid_t child = fork();

		if (child == 0) {
			open_ok(&m, newer_table, ARRAY_LEN(newer_table), "old", "none");
			_exit(0);
		}
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
	assert_int_equal(sum_of(&s, "old"), ERR_NOT_FOUND);
	count_in_a_process("old", 1);
	assert_int_equal(sum_of(&s, "old"), OK);
	assert_int_equal(number(&s, OPENED, 0), 5);
	buf_free(&s.given);
}

static void a_file_that_was_cut_off_is_not_read_and_made_whole_again(void **state)
{
	char path[100];
	struct sum s;

	(void)state;
	count_in_a_process("cut", 1);
	path_of(path, "cut", 0);
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(sum_of(&s, "cut"), ERR_NOT_FOUND);
	count_in_a_process("cut", 1);
	assert_int_equal(sum_of(&s, "cut"), OK);
	assert_int_equal(number(&s, OPENED, 0), 5);
	buf_free(&s.given);
}

static void files_with_other_words_are_not_mixed(void **state)
{
	struct metrics a, b;
	struct sum s;

	(void)state;
	open_ok(&a, table, ARRAY_LEN(table), "words", "none|/a");
	open_ok(&b, table, ARRAY_LEN(table), "words", "none|/b");
	metrics_add(&a, REQUESTS, 1, 0, 1);
	metrics_add(&b, REQUESTS, 1, 0, 10);
	assert_int_equal(sum_of(&s, "words"), OK);
	assert_string_equal(s.given.bytes, "none|/a");
	assert_int_equal(number(&s, REQUESTS, 1), 1);
	buf_free(&s.given);
}

/* A program was upgraded while its former process was still at its last request: that one's file was the first for good. */
static void the_words_are_those_of_who_counts_now(void **state)
{
	static struct metrics m; /* until the process ends */
	int ready[2], go[2];
	char byte = 0;
	struct sum s;
	pid_t former = -1;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	former = fork();
	if (former == 0) {
		open_ok(&m, table, ARRAY_LEN(table), "newer", "none|/a");
		if (write(ready[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 1)
			_exit(0);
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	open_ok(&m, table, ARRAY_LEN(table), "newer", "none|/b");
	metrics_add(&m, REQUESTS, 1, 0, 1);
	assert_int_equal(write(go[1], &byte, 1), 1);
	assert_int_equal(waitpid(former, NULL, 0), former);
	assert_int_equal(sum_of(&s, "newer"), OK);
	assert_string_equal(s.given.bytes, "none|/b");
	assert_int_equal(number(&s, REQUESTS, 1), 1);
	buf_free(&s.given);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
}

/* More words than there are numbers for were read behind their end; and a quote would end a label. */
static void a_file_whose_words_are_spoilt_is_not_read(void **state)
{
	static const char *const words[] = {"none||||||||||||||||||||||||||||", "none|/\"", "none|/\n"};
	char path[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		struct sum s;
		int fd = -1;

		count_in_a_process("spoilt", 1);
		path_of(path, "spoilt", 0);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		/* Behind what tells the table. */
		assert_int_equal(pwrite(fd, words[i], strlen(words[i]) + 1, 24), strlen(words[i]) + 1);
		close(fd);
		assert_int_equal(sum_of(&s, "spoilt"), ERR_NOT_FOUND);
		buf_free(&s.given);
	}
}

static void where_there_is_no_file_to_be_had_the_process_counts_for_itself_and_says_why(void **state)
{
	struct buf problem = BUF_EMPTY;
	static struct metrics m, other; /* theirs until the process ends */

	(void)state;
	assert_int_equal(metrics_file_open(&m, table, ARRAY_LEN(table), "/nowhere", "one", "none", &problem), OK);
	assert_string_equal(problem.bytes, "/nowhere: No such file or directory");
	assert_false(m.in_file);
	metrics_add(&m, OPENED, 0, 0, 1);
	assert_string_equal(m.given, "none");
	buf_free(&problem);
	assert_int_equal(metrics_file_open(&other, table, ARRAY_LEN(table), NULL, "one", "none", &problem), OK);
	assert_int_equal(problem.len, 0);
	buf_free(&problem);
}

/* One that root had made kept all that came after it from having a file; and a FIFO kept whoever asked waiting. */
static void what_is_no_file_of_ours_is_passed_over(void **state)
{
	char path[100];
	struct sum s;

	(void)state;
	path_of(path, "foreign", 0);
	assert_int_equal(mkdir(path, 0700), 0);
	path_of(path, "foreign", 1);
	assert_int_equal(mkfifo(path, 0600), 0);
	count_in_a_process("foreign", 1);
	assert_true(is_there("foreign", 2));
	alarm(60);
	assert_int_equal(sum_of(&s, "foreign"), OK);
	alarm(0);
	assert_int_equal(number(&s, OPENED, 0), 5);
	buf_free(&s.given);
	path_of(path, "foreign", 0);
	assert_int_equal(rmdir(path), 0);
}

/* posix_fallocate() does not set errno: "Success" was said of a full disk. */
static void a_file_that_finds_no_room_is_said_to_find_none(void **state)
{
	struct buf problem = BUF_EMPTY;
	static struct metrics m; /* until the process ends */
	struct rlimit limit, small;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = (struct rlimit){16, limit.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(metrics_file_open(&m, table, ARRAY_LEN(table), folder, "full", "none", &problem), OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_non_null(strstr(problem.bytes, strerror(EFBIG)));
	buf_free(&problem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_processes_have_counted_that_ended_stays_in_one_file),
		cmocka_unit_test(two_that_live_have_a_file_each_and_are_added_up_gauges_too),
		cmocka_unit_test(a_file_of_another_table_is_not_read_and_begins_anew_where_nobody_counts_in_it),
		cmocka_unit_test(a_file_that_was_cut_off_is_not_read_and_made_whole_again),
		cmocka_unit_test(files_with_other_words_are_not_mixed),
		cmocka_unit_test(the_words_are_those_of_who_counts_now),
		cmocka_unit_test(a_file_whose_words_are_spoilt_is_not_read),
		cmocka_unit_test(what_is_no_file_of_ours_is_passed_over),
		cmocka_unit_test(a_file_that_finds_no_room_is_said_to_find_none),
		cmocka_unit_test(where_there_is_no_file_to_be_had_the_process_counts_for_itself_and_says_why),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
