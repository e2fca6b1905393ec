#include "ws/listening.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define BACKLOG 4096

/* Takes the socket over. */
static enum err watch(struct listening *l, uv_loop_t *loop, int fd, const char *path)
{
	if (uv_poll_init(loop, &l->poll, fd) != 0) {
		close(fd);
		return ERR_SYSTEM;
	}
	l->fd = fd;
	l->path = path;
	return OK;
}

/* Sockets that are accepted have these options too. */
static bool prepare(int fd)
{
	int on = 1;

	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	       setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0;
}

enum err listening_on_port(struct listening *l, uv_loop_t *loop, const char *address, int64_t port)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
	struct addrinfo *found;
	char service[8];
	int fd;

	l->fd = -1;
	snprintf(service, sizeof(service), "%d", (int)port);
	if (getaddrinfo(address, service, &hints, &found) != 0) {
		log_error("TIDINGS_WS_ADDRESS is not an address");
		return ERR_SYSTEM;
	}
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || !prepare(fd) || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
		log_error("cannot listen address=%s port=%s why=\"%s\"", address, service, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd < 0 ? ERR_SYSTEM : watch(l, loop, fd, NULL);
}

/* Is a socket there that nobody listens on? */
static bool is_left_behind(const struct sockaddr_un *at)
{
	struct stat found;
	bool refused;
	int fd;

	if (lstat(at->sun_path, &found) != 0 || !S_ISSOCK(found.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	refused = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof(*at)) != 0 && errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return refused;
}

enum err listening_on_path(struct listening *l, uv_loop_t *loop, const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	bool bound = false;
	int fd;

	l->fd = -1;
	if (strlen(path) >= sizeof(at.sun_path)) {
		log_error("TIDINGS_WS_SOCKET is longer than %zu bytes", sizeof(at.sun_path) - 1);
		return ERR_SYSTEM;
	}
	memcpy(at.sun_path, path, strlen(path) + 1);
	if (is_left_behind(&at))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0) /* Nobody can connect before listen(). */
		bound = bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0;
	if (!bound || chmod(path, 0660) != 0 || listen(fd, BACKLOG) != 0) {
		log_error("cannot listen socket=%s why=\"%s\"", path, strerror(errno));
		if (bound)
			unlink(path);
		if (fd >= 0)
			close(fd);
		return ERR_SYSTEM;
	}
	return watch(l, loop, fd, path);
}

void listening_start(struct listening *l, uv_poll_cb on_ready)
{
	if (l->fd >= 0)
		uv_poll_start(&l->poll, UV_READABLE, on_ready);
}

void listening_stop(struct listening *l)
{
	if (l->fd >= 0)
		uv_poll_stop(&l->poll);
}

void listening_close(struct listening *l)
{
	if (l->fd < 0)
		return;
	uv_poll_stop(&l->poll);
	uv_close((uv_handle_t *)&l->poll, NULL);
	if (l->path)
		unlink(l->path);
	close(l->fd);
	l->fd = -1;
}
