#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static char folder[] = "/tmp/tidings-unit-file-XXXXXX";
static char path[64];

static void write_file(const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/f", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void adds_the_whole_file(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	write_file("hello\n", 0644);
	buf_add_text(&out, "> ");
	assert_int_equal(file_read(path, 6, false, &out), OK);
	assert_string_equal(out.bytes, "> hello\n");
	buf_free(&out);
}

static void an_empty_file_adds_nothing(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	write_file("", 0600);
	assert_int_equal(file_read(path, 6, true, &out), OK);
	assert_int_equal(out.len, 0);
	buf_free(&out);
}

static void one_byte_too_many_is_too_large(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	write_file("hello\n", 0644);
	assert_int_equal(file_read(path, 5, false, &out), ERR_TOO_LARGE);
	assert_int_equal(out.len, 0);
	buf_free(&out);
}

static void a_secret_that_others_may_read_is_refused_and_so_is_what_they_may_write(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	write_file("secret", 0644);
	assert_int_equal(file_read(path, 100, true, &out), ERR_FORBIDDEN);
	write_file("secret", 0640);
	assert_int_equal(file_read(path, 100, true, &out), OK);
	write_file("secret", 0602);
	assert_int_equal(file_read(path, 100, false, &out), ERR_FORBIDDEN);
	buf_free(&out);
}

static void what_is_no_file_is_told_apart(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	unlink(path);
	assert_int_equal(file_read(path, 100, false, &out), ERR_NOT_FOUND);
	assert_int_equal(file_read(folder, 100, false, &out), ERR_SYSTEM);
	assert_int_equal(errno, EISDIR);
	buf_free(&out);
}

static void replaces_a_file_at_once_or_leaves_it_as_it_was(void **state)
{
	struct buf out = BUF_EMPTY;
	struct stat st;
	mode_t before = umask(0077);

	(void)state;
	unlink(path);
	assert_int_equal(file_replace(path, 0644, (struct span){"one", 3}), OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(file_replace(path, 0644, (struct span){"two two", 7}), OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(file_read(path, 100, false, &out), OK);
	assert_string_equal(out.bytes, "two two");
	umask(before);

	/* Where a folder is, no file can be put, and nothing is left of the attempt: tear_down() removes the empty folder. */
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(file_replace(path, 0644, (struct span){"three", 5}), ERR_SYSTEM);
	assert_int_equal(errno, EISDIR);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(file_replace("/tmp/tidings-unit-file-absent/f", 0644, (struct span){"four", 4}), ERR_SYSTEM);
	assert_int_equal(errno, ENOENT);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adds_the_whole_file),
		cmocka_unit_test(an_empty_file_adds_nothing),
		cmocka_unit_test(one_byte_too_many_is_too_large),
		cmocka_unit_test(a_secret_that_others_may_read_is_refused_and_so_is_what_they_may_write),
		cmocka_unit_test(what_is_no_file_is_told_apart),
		cmocka_unit_test(replaces_a_file_at_once_or_leaves_it_as_it_was),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
