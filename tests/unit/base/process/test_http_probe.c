#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/process/http_probe.h"

#define WAIT_MS 20000 /* for what is there already */

/* A server that listens on `path`. */
static int listen_on_path(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* Takes the next connection, and says something on it. False: there is none any more. */
static bool say(int listening, const char *text)
{
	char question[256] = "";
	int fd = accept(listening, NULL, NULL);

	if (fd < 0)
		return false;
	assert_true(recv(fd, question, sizeof(question) - 1, 0) > 0);
	assert_memory_equal(question, "GET /health/ready HTTP/1.1\r\n", 28);
	assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
	close(fd);
	return true;
}

struct server {
	int listening;
	const char *text;
};

static void *serve(void *context)
{
	const struct server *s = context;

	while (say(s->listening, s->text))
		;
	return NULL;
}

/* What a probe is told by a server that says this on each connection, which is gone then. */
static enum err run_against(int listening, const char *text, struct http_probe *p)
{
	struct server s = {listening, text};
	pthread_t thread;
	enum err e;

	assert_int_equal(pthread_create(&thread, NULL, serve, &s), 0);
	e = http_probe_run(p, WAIT_MS);
	shutdown(listening, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(listening);
	return e;
}

static void make_path(char *path)
{
	assert_non_null(mkdtemp(path));
	assert_int_equal(rmdir(path), 0);
}

static void keeps_the_connection_on_which_no_answer_came(void **state)
{
	char path[] = "/tmp/tidings-probe-XXXXXX";
	struct http_probe p;
	int listening = -1, fd;

	(void)state;
	make_path(path);
	http_probe_init(&p, path, "127.0.0.1", 1);
	assert_int_equal(http_probe_run(&p, 0), ERR_AWAY);

	listening = listen_on_path(path);
	assert_int_equal(fcntl(listening, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	fd = accept(listening, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(accept(listening, NULL, NULL), -1);
	close(fd);
	assert_int_equal(fcntl(listening, F_SETFL, 0), 0);

	assert_int_equal(run_against(listening, "HTTP/1.1 503 Service Unavailable\r\n\r\n", &p), OK);
	assert_false(p.ready);
	assert_int_equal(p.fd, -1);
	assert_int_equal(unlink(path), 0);
}

static void takes_no_answer_that_came_before_it_was_asked(void **state)
{
	char path[] = "/tmp/tidings-probe-XXXXXX";
	struct http_probe p;
	int listening;

	(void)state;
	make_path(path);
	http_probe_init(&p, path, "127.0.0.1", 1);
	listening = listen_on_path(path);
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	assert_true(say(listening, "HTTP/1.1 200 OK\r\n\r\n"));
	/* On a new connection, which nobody takes. */
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	assert_int_equal(run_against(listening, "HTTP/1.1 200 OK\r\n\r\n", &p), OK);
	assert_true(p.ready);
	assert_int_equal(unlink(path), 0);

	listening = listen_on_path(path);
	assert_int_equal(run_against(listening, "what is this?", &p), ERR_AWAY);
	assert_int_equal(unlink(path), 0);

	/* The server ends, and another one is there. */
	listening = listen_on_path(path);
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	close(listening);
	assert_int_equal(unlink(path), 0);
	listening = listen_on_path(path);
	assert_int_equal(run_against(listening, "HTTP/1.1 200 OK\r\n\r\n", &p), OK);
	assert_int_equal(unlink(path), 0);
}

static void asks_at_a_port_where_there_is_no_path(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(address);
	struct http_probe p;
	int listening = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(bind(listening, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &len), 0);
	/* One that listens everywhere is asked here. */
	http_probe_init(&p, "", "0.0.0.0", ntohs(address.sin_port));
	assert_int_equal(http_probe_run(&p, WAIT_MS), ERR_AWAY);

	assert_int_equal(listen(listening, 8), 0);
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	assert_int_equal(run_against(listening, "HTTP/1.1 200 OK\r\n\r\n", &p), OK);

	http_probe_init(&p, NULL, "no address", 1);
	assert_int_equal(http_probe_run(&p, WAIT_MS), ERR_AWAY);
	http_probe_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_the_connection_on_which_no_answer_came),
		cmocka_unit_test(takes_no_answer_that_came_before_it_was_asked),
		cmocka_unit_test(asks_at_a_port_where_there_is_no_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
