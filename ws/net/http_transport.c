#include "ws/net/http_transport.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define EARLY_MAX 4096 /* bytes of the next request that are read while a reply is held; the kernel has the rest */

struct http_socket {
	struct line *line;	 /* owned */
	struct session *session; /* borrowed */
	const struct http_socket_ops *ops;
	bool keeps_early;
	bool is_shut;
};

struct line *http_socket_release(struct http_socket **h, struct buf *early)
{
	struct line *line = (*h)->line;

	*early = BUF_EMPTY;
	if ((*h)->session) {
		*early = (*h)->session->early;
		(*h)->session->early = BUF_EMPTY;
		session_charge((*h)->session);
	}
	free(*h);
	*h = NULL;
	return line;
}

static void gone(struct http_socket *h)
{
	struct session *s = h->session;
	const struct http_socket_ops *ops = h->ops;
	struct buf early;
	struct line *line = http_socket_release(&h, &early);

	line_close(&line);
	buf_free(&early);
	ops->gone(s);
}

/* A client that waits says nothing; what it says all the same is its next request. False: it is gone. */
static bool read_early(struct http_socket *h)
{
	char bytes[EARLY_MAX];
	ssize_t got = recv(line_fd(h->line), bytes, sizeof(bytes) - h->session->early.len, 0);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0)
		return false;
	if (!h->keeps_early)
		return true;
	buf_add(&h->session->early, bytes, (size_t)got);
	session_charge(h->session);
	return buf_ok(&h->session->early);
}

/* What is to be told: writing as long as it is full, reading as long as there is room for what comes. */
static void watch(struct http_socket *h, bool full)
{
	bool room = !h->session || h->session->early.len < EARLY_MAX;

	line_watch(h->line, (room ? UV_READABLE : 0) | (full ? UV_WRITABLE : 0));
}

static void on_event(void *owner, int status, int events)
{
	struct http_socket *h = owner;

	if (status < 0 || h->is_shut || ((events & UV_READABLE) && !read_early(h))) {
		gone(h);
		return;
	}
	watch(h, line_watches(h->line, UV_WRITABLE) && !(events & UV_WRITABLE));
	if (events & UV_WRITABLE)
		h->ops->writable(h->session);
}

enum err http_socket_new(struct http_socket **h, struct line *line, bool keeps_early, const struct http_socket_ops *ops)
{
	struct http_socket *made = calloc(1, sizeof(*made));

	if (!made) {
		line_close(&line);
		return ERR_MEMORY;
	}
	made->line = line;
	made->keeps_early = keeps_early;
	made->ops = ops;
	line_take(line, made, on_event);
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
	ssize_t sent = send(line_fd(h->line), bytes.bytes, bytes.len, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return -1;
	sent = MAX(sent, 0);
	*full = (size_t)sent < bytes.len;
	if (*full)
		watch(h, true);
	return sent;
}

int64_t http_socket_queued(void *socket)
{
	return transport_queued(line_fd(((struct http_socket *)socket)->line));
}

void http_socket_want_writable(void *socket)
{
	struct http_socket *h = socket;

	/* It took all so far, so it most likely takes more. */
	if (!line_watches(h->line, UV_WRITABLE))
		line_soon(h->line);
}

void http_socket_shut(void *socket)
{
	struct http_socket *h = socket;

	shutdown(line_fd(h->line), SHUT_RDWR);
	h->is_shut = true;
	line_soon(h->line);
}
