#include "ws/loop/port.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log/log.h"

#define BACKLOG 4096

/* Sockets that are accepted have these options too. */
static bool prepare(int fd)
{
	int on = 1;

	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	       setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0;
}

enum err port_open(struct port *p, uv_loop_t *loop, const char *address, int64_t port)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
	struct addrinfo *found;
	char service[8];
	int fd;

	*p = (struct port){.fd = -1, .lock = -1};
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
	if (fd >= 0 && uv_poll_init(loop, &p->poll, fd) != 0) {
		close(fd);
		fd = -1;
	}
	p->fd = fd;
	return fd < 0 ? ERR_SYSTEM : OK;
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

/* Two that start at once must not take each other's for one that was left behind. -1: errno tells. */
static int lock(const char *path)
{
	struct buf name = BUF_EMPTY;
	int fd = -1;

	buf_printf(&name, "%s.lock", path);
	if (buf_ok(&name))
		fd = open(name.bytes, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	buf_free(&name);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		errno = EADDRINUSE;
		fd = -1;
	}
	return fd;
}

/* A socket on that path, which nobody can connect to before it may. -1: errno tells. */
static int listen_on(const struct sockaddr_un *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int why;

	if (fd < 0)
		return -1;
	if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) == 0) {
		if (chmod(at->sun_path, 0660) == 0 && listen(fd, BACKLOG) == 0)
			return fd;
		why = errno;
		unlink(at->sun_path);
	} else {
		why = errno;
	}
	close(fd);
	errno = why;
	return -1;
}

enum err port_open_path(struct port *p, uv_loop_t *loop, const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	*p = (struct port){.fd = -1, .lock = -1, .path = path};
	if (strlen(path) >= sizeof(at.sun_path)) {
		log_error("TIDINGS_WS_SOCKET is longer than %zu bytes", sizeof(at.sun_path) - 1);
		return ERR_SYSTEM;
	}
	memcpy(at.sun_path, path, strlen(path) + 1);
	p->lock = lock(path);
	if (p->lock >= 0 && is_left_behind(&at))
		unlink(path);
	if (p->lock >= 0)
		p->fd = listen_on(&at);
	if (p->fd >= 0 && uv_poll_init(loop, &p->poll, p->fd) == 0)
		return OK;
	log_error("cannot listen socket=%s why=\"%s\"", path, strerror(errno));
	if (p->fd >= 0) {
		unlink(path);
		close(p->fd);
		p->fd = -1;
	}
	if (p->lock >= 0)
		close(p->lock);
	return ERR_SYSTEM;
}

void port_start(struct port *p, uv_poll_cb on_ready)
{
	if (p->fd >= 0)
		uv_poll_start(&p->poll, UV_READABLE, on_ready);
}

void port_stop(struct port *p)
{
	if (p->fd >= 0)
		uv_poll_stop(&p->poll);
}

void port_close(struct port *p)
{
	if (p->fd < 0)
		return;
	uv_poll_stop(&p->poll);
	uv_close((uv_handle_t *)&p->poll, NULL);
	if (p->path)
		unlink(p->path);
	close(p->fd);
	if (p->lock >= 0)
		close(p->lock);
	p->fd = p->lock = -1;
}
