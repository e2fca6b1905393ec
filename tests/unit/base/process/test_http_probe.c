#include <arpa/inet.h>
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

/* Takes the next connection, and says something on it. */
static void say(int listening, const char *text)
{
	char question[256] = "";
	int fd = accept(listening, NULL, NULL);

	assert_true(recv(fd, question, sizeof(question) - 1, 0) > 0);
	assert_memory_equal(question, "GET /health/ready HTTP/1.1\r\n", 28);
	assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
	close(fd);
}

static void waits_for_an_answer_on_the_connection_that_it_has(void **state)
{
	char path[] = "/tmp/tidings-probe-XXXXXX";
	struct http_probe p;
	int listening = -1;

	(void)state;
	assert_non_null(mkdtemp(path));
	assert_int_equal(rmdir(path), 0);
	http_probe_init(&p, path, "127.0.0.1", 1);
	assert_int_equal(http_probe_run(&p, 0), ERR_AWAY);

	listening = listen_on_path(path);
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	say(listening, "HTTP/1.1 503 Service Unavailable\r\n\r\n");
	assert_int_equal(http_probe_run(&p, WAIT_MS), OK);
	assert_false(p.ready);
	assert_int_equal(p.fd, -1);

	/* Each of these would be the answer to the wrong one, were there more connections than one. */
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	say(listening, "what is this?");
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	say(listening, "HTTP/1.1 200 OK\r\n\r\n");
	assert_int_equal(http_probe_run(&p, WAIT_MS), OK);
	assert_true(p.ready);

	/* The server ends, and another one is there. */
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	close(listening);
	assert_int_equal(unlink(path), 0);
	listening = listen_on_path(path);
	assert_int_equal(http_probe_run(&p, 1), ERR_AWAY);
	say(listening, "HTTP/1.1 200 OK\r\n\r\n");
	assert_int_equal(http_probe_run(&p, WAIT_MS), OK);

	http_probe_close(&p);
	close(listening);
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
	say(listening, "HTTP/1.1 200 OK\r\n\r\n");
	assert_int_equal(http_probe_run(&p, WAIT_MS), OK);
	close(listening);

	http_probe_init(&p, NULL, "no address", 1);
	assert_int_equal(http_probe_run(&p, WAIT_MS), ERR_AWAY);
	http_probe_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_for_an_answer_on_the_connection_that_it_has),
		cmocka_unit_test(asks_at_a_port_where_there_is_no_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
