#include "ws/http_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "domain/request_head.h"

struct http_socket {
	uv_poll_t poll;
	struct session *session; /* borrowed */
	const struct http_socket_ops *ops;
	struct buf early;
	int fd;
	int events;
};

static void on_event(uv_poll_t *poll, int status, int events);

static void watch(struct http_socket *h, int events)
{
	if (h->events == events)
		return;
	h->events = events;
	uv_poll_start(&h->poll, events, on_event);
}

static void on_closed(uv_handle_t *handle)
{
	struct http_socket *h = handle->data;

	buf_free(&h->early);
	free(h);
}

int http_socket_release(struct http_socket **h, struct buf *early)
{
	int fd = (*h)->fd;

	*early = (*h)->early;
	(*h)->early = BUF_EMPTY;
	uv_poll_stop(&(*h)->poll);
	uv_close((uv_handle_t *)&(*h)->poll, on_closed);
	*h = NULL;
	return fd;
}

static void gone(struct http_socket *h)
{
	struct session *s = h->session;
	const struct http_socket_ops *ops = h->ops;
	struct buf early;

	close(http_socket_release(&h, &early));
	buf_free(&early);
	ops->gone(s);
}

/* A client that waits says nothing; what it says all the same is its next request. False: it is gone. */
static bool read_early(struct http_socket *h)
{
	char bytes[4096];
	ssize_t got = recv(h->fd, bytes, sizeof(bytes), 0);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0)
		return false;
	buf_add(&h->early, bytes, (size_t)got);
	if (h->early.len >= REQUEST_HEAD_MAX)
		watch(h, h->events & ~UV_READABLE);
	return buf_ok(&h->early);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct http_socket *h = poll->data;

	if (status < 0 || ((events & UV_READABLE) && !read_early(h))) {
		gone(h);
		return;
	}
	if (events & UV_WRITABLE) {
		watch(h, h->events & ~UV_WRITABLE);
		h->ops->writable(h->session);
	}
}

enum err http_socket_new(struct http_socket **h, struct node *n, int fd, const struct http_socket_ops *ops)
{
	struct http_socket *made = calloc(1, sizeof(*made));

	if (!made || uv_poll_init(n->loop, &made->poll, fd) != 0) {
		free(made);
		close(fd);
		return ERR_MEMORY;
	}
	made->poll.data = made;
	made->fd = fd;
	made->ops = ops;
	watch(made, UV_READABLE);
	*h = made;
	return OK;
}

void http_socket_serve(struct http_socket *h, struct session *s)
{
	h->session = s;
}

ssize_t http_socket_write(void *socket, struct span bytes, bool *full)
{
	struct http_socket *h = socket;
	ssize_t sent = send(h->fd, bytes.bytes, bytes.len, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return -1;
	sent = MAX(sent, 0);
	*full = (size_t)sent < bytes.len;
	if (*full)
		watch(h, h->events | UV_WRITABLE);
	return sent;
}

void http_socket_want_writable(void *socket)
{
	struct http_socket *h = socket;

	watch(h, h->events | UV_WRITABLE);
}

void http_socket_shut(void *socket)
{
	struct http_socket *h = socket;

	shutdown(h->fd, SHUT_RDWR);
	/* Its end is read. */
	watch(h, h->events | UV_READABLE);
}
