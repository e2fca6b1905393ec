/*
 * The connection while the name server says nothing: getaddrinfo() is this file's here, and finds a name when a test lets it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/defs.h"
#include "store/async/pg_connection.h"

#define WAIT_MS 20000

typedef int look_up(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static sem_t asked, let, done;

/* Every name is that of this machine. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	look_up *real;
	int failed;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (strcmp(node, "127.0.0.1") == 0)
		return real(node, service, hints, found);
	sem_post(&asked);
	sem_wait(&let);
	failed = real("127.0.0.1", service, hints, found);
	sem_post(&done);
	return failed;
}

/* What the loop would watch. */
struct loop {
	struct pg_connection *connection;
	int fd;
	bool read, write;
	int64_t due_ms;
};

static void on_watch(void *context, int fd, bool read, bool write, int64_t due_ms)
{
	*(struct loop *)context = (struct loop){((struct loop *)context)->connection, fd, read, write, due_ms};
}

static const struct pg_connection_ops ops = {.watch = on_watch};

static void open_link(struct loop *l, const char *conninfo)
{
	struct hosts *hosts = NULL;

	assert_int_equal(hosts_new(&hosts, conninfo), OK);
	assert_int_equal(pg_connection_open(&l->connection, "queries", hosts, NULL, "a", 1000, &ops, l, l), OK);
	hosts_free(&hosts);
}

static void turn(struct loop *l)
{
	struct pollfd p = {.fd = l->fd, .events = (short)((l->read ? POLLIN : 0) | (l->write ? POLLOUT : 0))};

	/* A negative descriptor is passed over. */
	if (poll(&p, 1, 1) > 0)
		pg_connection_ready(l->connection, p.revents & (POLLIN | POLLHUP | POLLERR), p.revents & POLLOUT);
	else if (l->due_ms > 0 && clock_monotonic_ms() >= l->due_ms)
		pg_connection_due(l->connection);
}

/* A socket on this machine that takes a connection, and its port. */
static int listening(int *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

static int accepted(struct loop *l, int fd)
{
	int64_t end_ms = clock_monotonic_ms() + WAIT_MS;
	int client = -1;

	while ((client = accept(fd, NULL, NULL)) < 0 && clock_monotonic_ms() < end_ms)
		turn(l);
	assert_true(client >= 0);
	return client;
}

static void a_name_that_is_not_found_yet_holds_up_nobody(void **state)
{
	struct loop l = {0};
	int port, fd = listening(&port), client;
	char conninfo[128];

	(void)state;
	snprintf(conninfo, sizeof(conninfo), "host=db.example port=%d dbname=x gssencmode=disable", port);
	/* Whoever waited for the name in here would wait for ever. */
	open_link(&l, conninfo);
	sem_wait(&asked);
	assert_true(l.fd >= 0 && l.read && l.due_ms > 0);
	sem_post(&let);
	client = accepted(&l, fd);
	pg_connection_close(&l.connection);
	sem_wait(&done);
	close(client);
	close(fd);
}

static void a_name_that_is_not_found_in_time_is_passed_for_the_next_host(void **state)
{
	struct loop l = {0};
	int port, fd = listening(&port), client;
	char conninfo[128];

	(void)state;
	snprintf(conninfo, sizeof(conninfo), "host=db.example,127.0.0.1 port=%d dbname=x gssencmode=disable", port);
	open_link(&l, conninfo);
	sem_wait(&asked);
	client = accepted(&l, fd);
	pg_connection_close(&l.connection);
	/* It is still being looked up, and whoever asked is gone. */
	sem_post(&let);
	sem_wait(&done);
	close(client);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_that_is_not_found_yet_holds_up_nobody),
		cmocka_unit_test(a_name_that_is_not_found_in_time_is_passed_for_the_next_host),
	};

	sem_init(&asked, 0, 0);
	sem_init(&let, 0, 0);
	sem_init(&done, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
