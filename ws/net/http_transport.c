#include "ws/net/http_transport.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define EARLY_MAX 4096 /* bytes of the next request that are read while a reply is held; the kernel has the rest */

struct http_transport {
	struct client_socket *socket; /* owned */
	struct session *session;      /* borrowed */
	const struct http_transport_ops *ops;
	bool keeps_early;
	bool is_shut;
};

struct client_socket *http_transport_release(struct http_transport **h, struct buf *early)
{
	struct client_socket *socket = (*h)->socket;

	*early = BUF_EMPTY;
	if ((*h)->session) {
		*early = (*h)->session->early;
		(*h)->session->early = BUF_EMPTY;
		session_charge((*h)->session);
	}
	free(*h);
	*h = NULL;
	return socket;
}

static void gone(struct http_transport *h)
{
	struct session *s = h->session;
	const struct http_transport_ops *ops = h->ops;
	struct buf early;
	struct client_socket *socket = http_transport_release(&h, &early);

	client_socket_close(&socket);
	buf_free(&early);
	ops->gone(s);
}

/* A client that waits says nothing; what it says all the same is its next request. False: it is gone. */
static bool read_early(struct http_transport *h)
{
	char bytes[EARLY_MAX];
	ssize_t got = recv(client_socket_fd(h->socket), bytes, sizeof(bytes) - h->session->early.len, 0);

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
static void watch(struct http_transport *h, bool full)
{
	bool room = !h->session || h->session->early.len < EARLY_MAX;

	client_socket_watch(h->socket, (room ? UV_READABLE : 0) | (full ? UV_WRITABLE : 0));
}

static void on_event(void *owner, int status, int events)
{
	struct http_transport *h = owner;

	if (status < 0 || h->is_shut || ((events & UV_READABLE) && !read_early(h))) {
		gone(h);
		return;
	}
	watch(h, client_socket_watches(h->socket, UV_WRITABLE) && !(events & UV_WRITABLE));
	if (events & UV_WRITABLE)
		h->ops->writable(h->session);
}

enum err http_transport_new(struct http_transport **h, struct client_socket *socket, bool keeps_early,
			    const struct http_transport_ops *ops)
{
	struct http_transport *made = calloc(1, sizeof(*made));

	if (!made) {
		client_socket_close(&socket);
		return ERR_MEMORY;
	}
	made->socket = socket;
	made->keeps_early = keeps_early;
	made->ops = ops;
	client_socket_take(socket, made, on_event);
	*h = made;
	return OK;
}

void http_transport_serve(struct http_transport *h, struct session *s)
{
	h->session = s;
}

ssize_t http_transport_write(void *socket, struct span bytes, bool *full)
{
	struct http_transport *h = socket;
	ssize_t sent = send(client_socket_fd(h->socket), bytes.bytes, bytes.len, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return -1;
	sent = MAX(sent, 0);
	*full = (size_t)sent < bytes.len;
	if (*full)
		watch(h, true);
	return sent;
}

int64_t http_transport_queued(void *socket)
{
	return transport_queued(client_socket_fd(((struct http_transport *)socket)->socket));
}

void http_transport_want_writable(void *socket)
{
	struct http_transport *h = socket;

	/* It took all so far, so it most likely takes more. */
	if (!client_socket_watches(h->socket, UV_WRITABLE))
		client_socket_soon(h->socket);
}

void http_transport_shut(void *socket)
{
	struct http_transport *h = socket;

	shutdown(client_socket_fd(h->socket), SHUT_RDWR);
	h->is_shut = true;
	client_socket_soon(h->socket);
}
