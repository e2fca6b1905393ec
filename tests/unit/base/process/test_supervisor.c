#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/process/supervisor.h"

/* A socket of that name; one with @ is in no folder. */
static int supervise(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, name, strlen(name));
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
			 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void check_told(int fd, const char *state)
{
	char got[64] = "";

	assert_int_equal(recv(fd, got, sizeof(got) - 1, 0), strlen(state));
	assert_string_equal(got, state);
}

static void tells_by_a_path_and_by_an_abstract_name(void **state)
{
	char name[2][64];

	(void)state;
	snprintf(name[0], sizeof(name[0]), "/tmp/tidings-supervisor-%d", (int)getpid());
	snprintf(name[1], sizeof(name[1]), "@tidings-supervisor-%d", (int)getpid());
	for (int i = 0; i < 2; i++) {
		int fd = supervise(name[i]);

		supervisor_tell(SUPERVISOR_READY);
		supervisor_tell(SUPERVISOR_STOPPING);
		check_told(fd, "READY=1");
		check_told(fd, "STOPPING=1");
		close(fd);
	}
	assert_int_equal(unlink(name[0]), 0);
}

static void tells_nobody_where_there_is_no_supervisor_and_does_not_wait_for_one_that_reads_nothing(void **state)
{
	char name[64], got[64];
	int fd = -1, count = 0;

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	supervisor_tell(SUPERVISOR_READY);
	setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
	supervisor_tell(SUPERVISOR_READY);
	setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
	supervisor_tell(SUPERVISOR_READY);

	snprintf(name, sizeof(name), "@tidings-supervisor-%d", (int)getpid());
	fd = supervise(name);
	for (int i = 0; i < 10000; i++)
		supervisor_tell(SUPERVISOR_ALIVE);
	while (recv(fd, got, sizeof(got), 0) > 0)
		count++;
	assert_int_equal(errno, EAGAIN);
	assert_in_range(count, 1, 9999);
	close(fd);
	unsetenv("NOTIFY_SOCKET");
}

static void feeds_the_watchdog_twice_in_its_time_where_it_is_for_this_process(void **state)
{
	char pid[24];

	(void)state;
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	assert_int_equal(supervisor_interval_ms(), 0);
	setenv("WATCHDOG_USEC", "20000000", 1);
	assert_int_equal(supervisor_interval_ms(), 10000);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(supervisor_interval_ms(), 10000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(supervisor_interval_ms(), 0);
	unsetenv("WATCHDOG_PID");
	setenv("WATCHDOG_USEC", "1", 1);
	assert_int_equal(supervisor_interval_ms(), 1);
	setenv("WATCHDOG_USEC", "-5", 1);
	assert_int_equal(supervisor_interval_ms(), 0);
	unsetenv("WATCHDOG_USEC");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_by_a_path_and_by_an_abstract_name),
		cmocka_unit_test(
			tells_nobody_where_there_is_no_supervisor_and_does_not_wait_for_one_that_reads_nothing),
		cmocka_unit_test(feeds_the_watchdog_twice_in_its_time_where_it_is_for_this_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
