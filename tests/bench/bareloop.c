/*
 * bareloop - the limit that the sidecar is measured against: one thread, epoll, one send(2) of a ready-made frame to
 * each client.
 *
 *	GET		a WebSocket client, as load makes them: always the key of RFC 6455's example
 *	POST		its body, a JSON object, goes to every client as one frame, a seq put in front; then it is
 *			answered
 *
 * It knows no topics, checks nothing, keeps nothing, and a client whose socket is full ends it: what it saves by that,
 * nobody else can save. End of stdin ends it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define REQUEST_MAX 32768

struct server {
	struct watch watch;
	int loop;
	uint64_t seq;
	LIST_HEAD(, connection) connections;
	int *clients; /* sockets of those that are websockets: all that the fan-out looks at */
	size_t clients_count;
	size_t clients_size;
};

struct connection {
	struct watch watch;
	LIST_ENTRY(connection) entry;
	struct server *server;
	bool websocket;
	size_t len;
	char *in; /* owned: a request that is not all here; NULL for a websocket */
};

static void put(int fd, const char *bytes, size_t len)
{
	if (send(fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("a client does not take what it is sent");
}

static void connection_free(struct connection *c)
{
	struct server *s = c->server;

	for (size_t i = 0; c->websocket && i < s->clients_count; i++) {
		if (s->clients[i] == c->watch.fd) {
			s->clients[i] = s->clients[--s->clients_count];
			break;
		}
	}
	LIST_REMOVE(c, entry);
	close(c->watch.fd);
	free(c->in);
	free(c);
}

/* A text frame's head. */
static size_t frame_head(uint8_t head[4], size_t payload)
{
	head[0] = 0x81;
	if (payload < 126) {
		head[1] = (uint8_t)payload;
		return 2;
	}
	head[1] = 126;
	head[2] = (uint8_t)(payload >> 8);
	head[3] = (uint8_t)payload;
	return 4;
}

static void broadcast(struct server *s, const char *body, size_t len)
{
	char text[REQUEST_MAX + 32], frame[sizeof(text) + 4];
	int text_len = snprintf(text, sizeof(text), "{\"seq\":%" PRIu64 ",%.*s", ++s->seq, (int)len - 1, body + 1);
	size_t head = frame_head((uint8_t *)frame, (size_t)text_len);

	memcpy(frame + head, text, (size_t)text_len);
	for (size_t i = 0; i < s->clients_count; i++)
		put(s->clients[i], frame, head + (size_t)text_len);
}

static void join(struct connection *c)
{
	static const char hello[] = "{\"type\":\"connect\"}";
	static const char accepted[] = "HTTP/1.1 101 Switching Protocols\r\n"
				       "Upgrade: websocket\r\nConnection: Upgrade\r\n"
				       "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
	struct server *s = c->server;
	char frame[4 + sizeof(hello)];
	size_t head = frame_head((uint8_t *)frame, sizeof(hello) - 1);

	memcpy(frame + head, hello, sizeof(hello) - 1);
	put(c->watch.fd, accepted, sizeof(accepted) - 1);
	put(c->watch.fd, frame, head + sizeof(hello) - 1);
	c->websocket = true;
	free(c->in);
	c->in = NULL;
	if (s->clients_count == s->clients_size) {
		s->clients_size = s->clients_size ? s->clients_size * 2 : 1024;
		s->clients = must_alloc(s->clients, s->clients_size * sizeof(*s->clients));
	}
	s->clients[s->clients_count++] = c->watch.fd;
}

static void request(struct connection *c)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
	char *end;

	c->in[c->len] = '\0';
	end = strstr(c->in, "\r\n\r\n");
	if (!end)
		return;
	if (strncmp(c->in, "GET ", 4) == 0) {
		join(c);
		return;
	}

	char *length = strstr(c->in, "Content-Length: ");
	size_t body = length ? strtoul(length + 16, NULL, 10) : 0;

	if (body < 2 || end[4] != '{')
		die("a request that is neither an upgrade nor a POST of a JSON object");
	if (c->len - (size_t)(end + 4 - c->in) < body)
		return;
	broadcast(c->server, end + 4, body);
	c->len = 0;
	put(c->watch.fd, ok, sizeof(ok) - 1);
}

static void serve(struct watch *w, uint32_t events)
{
	struct connection *c = (struct connection *)w;
	char ignored[1024];
	ssize_t n;

	(void)events;
	if (c->websocket)
		n = read(w->fd, ignored, sizeof(ignored)); /* pongs, closes: who hangs up is noticed, no more */
	else
		n = read(w->fd, c->in + c->len, REQUEST_MAX - c->len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		connection_free(c);
		return;
	}
	if (c->websocket)
		return;
	c->len += (size_t)n;
	request(c);
}

static void accept_one(struct watch *w, uint32_t events)
{
	struct server *s = (struct server *)w;
	int one = 1, fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

	struct connection *c = must_alloc(NULL, sizeof(*c));

	c->watch.ready = serve;
	c->watch.fd = fd;
	c->server = s;
	c->in = must_alloc(NULL, REQUEST_MAX + 1);
	LIST_INSERT_HEAD(&s->connections, c, entry);
	loop_add(s->loop, &c->watch, EPOLLIN);
}

struct end {
	struct watch watch;
	bool come;
};

static void end(struct watch *w, uint32_t events)
{
	char ignored[64];

	(void)events;
	if (read(w->fd, ignored, sizeof(ignored)) <= 0)
		((struct end *)w)->come = true;
}

int main(int argc, char **argv)
{
	static const char usage[] = "usage: bareloop --port P\n";
	static const struct option known[] = {{"port", required_argument, NULL, 'p'}, {0}};
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct end stdin_end = {.watch = {.ready = end, .fd = STDIN_FILENO}};
	struct server s = {.watch = {.ready = accept_one}};
	int which, one = 1, port = 0;

	while ((which = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		if (which != 'p') {
			fputs(usage, stderr);
			return 2;
		}
		port = (int)option_number("--port", optarg, 1, 65535);
	}
	if (!port || optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	bench_start(FILES_MAX);

	here.sin_port = htons((uint16_t)port);
	s.loop = loop_new();
	s.watch.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s.watch.fd < 0 || setsockopt(s.watch.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(s.watch.fd, (struct sockaddr *)&here, sizeof(here)) || listen(s.watch.fd, 1024))
		die("port %d: %s", port, strerror(errno));
	loop_add(s.loop, &s.watch, EPOLLIN);
	loop_add(s.loop, &stdin_end.watch, EPOLLIN);
	printf("ready %d\n", port);
	while (!stdin_end.come)
		loop_turn(s.loop, -1);
	while (!LIST_EMPTY(&s.connections))
		connection_free(LIST_FIRST(&s.connections));
	free(s.clients);
	return 0;
}
