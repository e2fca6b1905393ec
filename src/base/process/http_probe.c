#include "base/process/http_probe.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

static const char question[] = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
static const char answer[] = "HTTP/";
static const char ready[] = "HTTP/1.1 200";

void http_probe_init(struct http_probe *p, const char *path, const char *address, int64_t port)
{
	*p = (struct http_probe){.path = path, .address = address, .port = port, .fd = -1};
}

void http_probe_close(struct http_probe *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	p->asked = false;
}

/* False: nobody is there. */
static bool connect_to(struct http_probe *p, const struct sockaddr *address, socklen_t len)
{
	p->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0)
		return false;
	if (connect(p->fd, address, len) == 0 || errno == EINPROGRESS)
		return true;
	http_probe_close(p);
	return false;
}

static bool connect_to_path(struct http_probe *p)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(p->path) >= sizeof(address.sun_path))
		return false;
	memcpy(address.sun_path, p->path, strlen(p->path));
	return connect_to(p, (const struct sockaddr *)&address, sizeof(address));
}

static bool connect_to_port(struct http_probe *p)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	struct addrinfo *found = NULL;
	char service[8];
	bool connected = false;

	snprintf(service, sizeof(service), "%d", (int)p->port);
	if (getaddrinfo(p->address, service, &hints, &found) != 0)
		return false;
	connected = connect_to(p, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return connected;
}

/* False: not until then. */
static bool wait_for(const struct http_probe *p, short events, int64_t until_ms)
{
	struct pollfd wanted = {.fd = p->fd, .events = events};
	int n = 0;

	do {
		int64_t left_ms = until_ms - clock_monotonic_ms();

		n = poll(&wanted, 1, left_ms > 0 ? (int)left_ms : 0);
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

/* ERR_AWAY: not until then. ERR_SYSTEM: this connection is of no use. */
static enum err await(struct http_probe *p, int64_t until_ms)
{
	char begin[sizeof(ready) - 1];
	ssize_t got;

	if (!p->asked) {
		if (!wait_for(p, POLLOUT, until_ms))
			return ERR_AWAY;
		if (send(p->fd, question, sizeof(question) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(question) - 1)
			return ERR_SYSTEM;
		p->asked = true;
	}
	if (!wait_for(p, POLLIN, until_ms))
		return ERR_AWAY;
	got = recv(p->fd, begin, sizeof(begin), 0);
	if (got < (ssize_t)strlen(answer) || memcmp(begin, answer, strlen(answer)) != 0)
		return ERR_SYSTEM;
	p->ready = got == (ssize_t)sizeof(begin) && memcmp(begin, ready, sizeof(begin)) == 0;
	return OK;
}

enum err http_probe_run(struct http_probe *p, int64_t wait_ms)
{
	int64_t until_ms = clock_monotonic_ms() + wait_ms;
	enum err e = OK;

	/* What lies there was said between the probes: it tells nothing of now. */
	if (p->fd >= 0 && wait_for(p, POLLIN, 0))
		http_probe_close(p);
	if (p->fd >= 0) {
		e = await(p, until_ms);
		if (e == ERR_AWAY)
			return e;
		http_probe_close(p);
		if (e == OK)
			return e;
	}
	if (!(p->path && *p->path ? connect_to_path(p) : connect_to_port(p)))
		return ERR_AWAY;
	e = await(p, until_ms);
	if (e == ERR_AWAY)
		return e;
	http_probe_close(p);
	return e == OK ? OK : ERR_AWAY;
}
