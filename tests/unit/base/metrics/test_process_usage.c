#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/metrics/process_usage.h"

static void descriptors_are_those_that_are_open(void **state)
{
	struct process_usage before, with;
	int fd;

	(void)state;
	process_usage_read(&before);
	fd = open("/dev/null", O_RDONLY);
	process_usage_read(&with);
	close(fd);
	assert_true(before.descriptors >= 3);
	assert_int_equal(with.descriptors, before.descriptors + 1);
	assert_true(with.descriptors < with.descriptors_max);
}

static void memory_and_time_are_told(void **state)
{
	struct process_usage u;
	volatile unsigned spin = 0;

	(void)state;
	while (spin < 1000000)
		spin++;
	process_usage_read(&u);
	assert_true(u.cpu_us > 0);
	assert_true(u.resident_bytes > 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptors_are_those_that_are_open),
		cmocka_unit_test(memory_and_time_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
