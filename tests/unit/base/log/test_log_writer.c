/*
 * The thread that writes the log, in a child whose stderr is a pipe: what the parent reads of it, and when, is the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log/log.h"

#define THREADS 4
#define EACH 1000
#define MANY 20000 /* lines: more than the ring holds */

struct child {
	pid_t pid;
	int log;    /* its stderr */
	int logged; /* readable once it has logged everything */
	FILE *lines;
};

static struct child child_start(void (*run)(void))
{
	int log[2], logged[2];
	struct child c;

	assert_int_equal(pipe(log), 0);
	assert_int_equal(pipe(logged), 0);
	fflush(NULL);
	c.pid = fork();
	assert_true(c.pid >= 0);
	if (c.pid == 0) {
		dup2(log[1], STDERR_FILENO);
		close(log[0]);
		close(log[1]);
		log_open("prog", LOG_INFO_, 0);
		if (log_start_writer() != OK)
			_exit(3);
		run();
		if (write(logged[1], "!", 1) != 1)
			_exit(4);
		exit(0);
	}
	close(log[1]);
	close(logged[1]);
	c.log = log[0];
	c.logged = logged[0];
	c.lines = fdopen(log[0], "r");
	return c;
}

static void wait_logged(struct child *c)
{
	char mark;

	assert_int_equal(read(c->logged, &mark, 1), 1);
}

static void child_end(struct child *c)
{
	int status = -1;

	fclose(c->lines);
	close(c->logged);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	assert_int_equal(status, 0);
}

/* The number behind `key` in the line; -1: it is not there. */
static long number(const char *line, const char *key)
{
	const char *at = strstr(line, key);

	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

static void *log_many(void *name)
{
	for (int i = 0; i < EACH; i++)
		log_notice("line%s=%d", (const char *)name, i);
	return NULL;
}

static void from_threads(void)
{
	static char names[THREADS][2] = {"a", "b", "c", "d"};
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, log_many, names[i]) != 0)
			_exit(5);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void each_threads_lines_come_in_order_and_whole_and_none_is_lost_at_the_end(void **state)
{
	static const char *const keys[THREADS] = {"linea=", "lineb=", "linec=", "lined="};
	struct child c = child_start(from_threads);
	long next[THREADS] = {0};
	char line[4096];

	(void)state;
	while (fgets(line, sizeof(line), c.lines)) {
		int found = 0;

		assert_memory_equal(line + 23, "Z prog[", 7);
		for (int i = 0; i < THREADS; i++) {
			if (number(line, keys[i]) < 0)
				continue;
			assert_int_equal(number(line, keys[i]), next[i]++);
			found++;
		}
		assert_int_equal(found, 1);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(next[i], EACH);
	child_end(&c);
}

static void more_than_there_is_room_for(void)
{
	for (int i = 0; i < MANY; i++)
		log_notice("line=%d", i);
	for (int i = 0; i < EACH; i++)
		log_write(LOG_AUDIT_, "audit=%d", i);
}

static void while_nobody_reads_nobody_waits_what_is_lost_is_counted_and_the_audit_trail_has_room_of_its_own(
	void **state)
{
	struct child c = child_start(more_than_there_is_room_for);
	long lines = 0, audits = 0, lost = 0;
	char line[4096];

	(void)state;
	wait_logged(&c);
	while (fgets(line, sizeof(line), c.lines)) {
		if (number(line, " lines=") >= 0) {
			lost += number(line, " lines=");
			assert_int_equal(number(line, " audit="), 0);
			assert_non_null(strstr(line, "warning: log lines were lost"));
		} else if (number(line, " line=") >= 0) {
			assert_int_equal(number(line, " line="), lines++);
		} else {
			assert_int_equal(number(line, " audit="), audits++);
		}
	}
	assert_true(lines > EACH && lost > 0);
	assert_int_equal(lines + lost, MANY);
	assert_int_equal(audits, EACH);
	child_end(&c);
}

static void more_audit_than_there_is_room_for(void)
{
	for (int i = 0; i < MANY; i++)
		log_write(LOG_AUDIT_, "audit=%d", i);
}

static void lines_of_the_audit_trail_that_are_lost_are_told_as_such(void **state)
{
	struct child c = child_start(more_audit_than_there_is_room_for);
	long audits = 0, lost = 0;
	char line[4096];

	(void)state;
	wait_logged(&c);
	while (fgets(line, sizeof(line), c.lines)) {
		if (number(line, " lines=") >= 0) {
			assert_int_equal(number(line, " lines="), number(line, " audit="));
			lost += number(line, " audit=");
		} else {
			audits++;
		}
	}
	assert_true(lost > 0);
	assert_int_equal(audits + lost, MANY);
	child_end(&c);
}

static void to_a_full_disk_at_first(void)
{
	int pipe_end = dup(STDERR_FILENO), full = open("/dev/full", O_WRONLY);

	if (pipe_end < 0 || full < 0 || dup2(full, STDERR_FILENO) < 0)
		_exit(5);
	for (int i = 0; i < EACH; i++)
		log_write(i % 2 ? LOG_AUDIT_ : LOG_NOTICE_, "line=%d", i);
	dup2(pipe_end, STDERR_FILENO);
	close(pipe_end);
	close(full);
	/* Whatever is left by now is written, and this tells what was not. */
	log_notice("line=%d", EACH);
}

static void what_could_not_be_written_is_counted_too(void **state)
{
	struct child c = child_start(to_a_full_disk_at_first);
	long lines = 0, lost = 0;
	char line[4096];

	(void)state;
	while (fgets(line, sizeof(line), c.lines)) {
		if (number(line, " lines=") >= 0)
			lost += number(line, " lines=");
		else
			lines++;
	}
	assert_int_equal(lines + lost, EACH + 1);
	child_end(&c);
}

static void a_program_whose_log_nobody_takes_ends_all_the_same(void **state)
{
	struct child c = child_start(more_than_there_is_room_for);
	int status = -1;

	(void)state;
	assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
	assert_int_equal(status, 0);
	fclose(c.lines);
	close(c.logged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_threads_lines_come_in_order_and_whole_and_none_is_lost_at_the_end),
		cmocka_unit_test(
			while_nobody_reads_nobody_waits_what_is_lost_is_counted_and_the_audit_trail_has_room_of_its_own),
		cmocka_unit_test(lines_of_the_audit_trail_that_are_lost_are_told_as_such),
		cmocka_unit_test(what_could_not_be_written_is_counted_too),
		cmocka_unit_test(a_program_whose_log_nobody_takes_ends_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
