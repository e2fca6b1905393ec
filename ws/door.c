#include "ws/door.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "domain/request_head.h"
#include "ws/reception.h"
#include "ws/visitor.h"

#define VISITORS_MAX 1024
#define ACCEPT_TURN 128 /* sockets, before the loop looks at the others */
#define HEAD_MAX_MS 10000
#define BACKLOG 4096

struct door {
	struct node *node;
	uv_poll_t listening;
	int fd; /* -1: shut */
	struct visitor_list visitors;
	size_t visitors_count;
	bool full;	/* not accepting for the moment: out of descriptors */
	bool said_full; /* such a time is one line in the log */
};

static void on_listen(uv_poll_t *poll, int status, int events);

static void on_left(struct visitor *v)
{
	struct door *d = v->node->door;

	TAILQ_REMOVE(&d->visitors, v, link);
	d->visitors_count--;
	if (d->full && d->fd >= 0) {
		d->full = false;
		uv_poll_start(&d->listening, UV_READABLE, on_listen);
	}
}

static void read_head(struct visitor *v)
{
	char bytes[REQUEST_HEAD_MAX];
	ssize_t got = recv(v->fd, bytes, sizeof(bytes), 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0)
		buf_add(&v->in, bytes, (size_t)got);
	if (got <= 0 || !buf_ok(&v->in))
		close(visitor_dismiss(v));
	else
		reception_serve(v);
}

static void on_visitor(uv_poll_t *poll, int status, int events)
{
	struct visitor *v = poll->data;
	char rest[4096];

	(void)events;
	if (v->state == VISITOR_READING && status == 0)
		read_head(v);
	else if (status < 0 || recv(v->fd, rest, sizeof(rest), 0) == 0)
		close(visitor_dismiss(v));
}

/* NULL: no memory; fd is closed then. */
static struct visitor *let_in(struct door *d, int fd)
{
	struct visitor *v;

	if (visitor_new(&v, d->node, fd, on_visitor, on_left) != OK)
		return NULL;
	v->due_ms = clock_monotonic_ms() + HEAD_MAX_MS;
	TAILQ_INSERT_TAIL(&d->visitors, v, link);
	d->visitors_count++;
	return v;
}

static void welcome(struct door *d, int fd)
{
	struct visitor *v;
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	v = let_in(d, fd);
	/* Most often its request is there already. */
	if (v)
		read_head(v);
}

/* A poll's reply is out: its client may ask again on the same connection, and may have done so. */
static void reply_done(struct node *n, int fd, bool keep_alive, const struct buf *early)
{
	struct visitor *v;

	if (!keep_alive || n->door->visitors_count >= VISITORS_MAX) {
		shutdown(fd, SHUT_WR);
		close(fd);
		return;
	}
	v = let_in(n->door, fd);
	if (!v || early->len == 0)
		return;
	buf_add(&v->in, early->bytes, early->len);
	if (buf_ok(&v->in))
		reception_serve(v);
	else
		close(visitor_dismiss(v));
}

static void pause_accepting(struct door *d)
{
	d->full = true;
	uv_poll_stop(&d->listening);
}

/* Who has to go when there are too many: one that was answered, else the one that has not said what it wants for the
 * longest. */
static struct visitor *longest_here(struct door *d)
{
	struct visitor *v;

	TAILQ_FOREACH (v, &d->visitors, link) {
		if (v->state == VISITOR_LINGERING)
			return v;
	}
	return TAILQ_FIRST(&d->visitors);
}

static void on_listen(uv_poll_t *poll, int status, int events)
{
	struct door *d = poll->data;

	(void)status;
	(void)events;
	for (int turn = 0; turn < ACCEPT_TURN && d->fd >= 0; turn++) {
		int fd;

		if (d->visitors_count >= VISITORS_MAX)
			close(visitor_dismiss(longest_here(d)));
		fd = accept4(d->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			d->said_full = false;
			welcome(d, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* Until the next check; the kernel keeps them in line. */
			if (!d->said_full)
				log_error("cannot accept connections errno=%d", errno);
			d->said_full = true;
			pause_accepting(d);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

static int listen_on(const char *address, int64_t port)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
	struct addrinfo *found;
	char service[8];
	int on = 1, fd = -1;

	snprintf(service, sizeof(service), "%d", (int)port);
	if (getaddrinfo(address, service, &hints, &found) != 0) {
		log_error("TIDINGS_WS_ADDRESS is not an address");
		return -1;
	}
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
		log_error("cannot listen address=%s port=%s why=\"%s\"", address, service, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

enum err door_new(struct door **d, struct node *n)
{
	struct door *made = calloc(1, sizeof(*made));

	if (!made)
		return ERR_MEMORY;
	made->node = n;
	n->reply_done = reply_done;
	TAILQ_INIT(&made->visitors);
	made->fd = listen_on(n->config->ws_address, n->config->ws_port);
	if (made->fd < 0 || uv_poll_init(n->loop, &made->listening, made->fd) != 0) {
		free(made);
		return ERR_SYSTEM;
	}
	made->listening.data = made;
	*d = made;
	return OK;
}

void door_open(struct door *d)
{
	if (d->fd >= 0)
		uv_poll_start(&d->listening, UV_READABLE, on_listen);
}

void door_shut(struct door *d)
{
	if (d->fd < 0)
		return;
	uv_poll_stop(&d->listening);
	uv_close((uv_handle_t *)&d->listening, NULL);
	close(d->fd);
	d->fd = -1;
}

void door_check(struct door *d, int64_t now_ms)
{
	struct visitor *v = TAILQ_FIRST(&d->visitors), *next;

	for (; v; v = next) {
		next = TAILQ_NEXT(v, link);
		if (now_ms >= v->due_ms)
			close(visitor_dismiss(v));
	}
	if (d->full && d->fd >= 0) {
		d->full = false;
		uv_poll_start(&d->listening, UV_READABLE, on_listen);
	}
}

void door_free(struct door **d)
{
	struct visitor *v;

	if (!*d)
		return;
	door_shut(*d);
	while ((v = TAILQ_FIRST(&(*d)->visitors)))
		close(visitor_dismiss(v));
	/* The visitors' handles still point here until the loop has closed them: it frees after. */
	free(*d);
	*d = NULL;
}
