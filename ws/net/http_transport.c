#include "ws/net/http_transport.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "ws/session/session_output.h"
#include "ws/session/transport.h"
#include "ws/subscribe/subscribe.h"

#define EARLY_MAX 4096 /* bytes of the next request that are read while a reply is held; the kernel has the rest */

struct http_transport {
	struct client_socket *socket;  /* owned */
	struct session *session;       /* borrowed */
	struct requesters *requesters; /* borrowed: where the socket goes for the next request */
	bool keeps_early;
	bool is_shut;
};

/* The socket is the caller's, and what its client has sent meanwhile. */
static struct client_socket *release(struct http_transport *h, struct buf *early)
{
	struct client_socket *socket = h->socket;

	*early = h->session->in.early;
	h->session->in.early = BUF_EMPTY;
	session_charge(h->session);
	free(h);
	return socket;
}

/* The client, or its network. */
static void gone(struct http_transport *h)
{
	struct session *s = h->session;
	struct buf early;
	struct client_socket *socket = release(h, &early);

	client_socket_close(&socket);
	buf_free(&early);
	subscribe_end(s, false);
}

/* The reply is out, to its end: the session is over, and its socket may serve another request. */
static void finish(struct http_transport *h)
{
	struct session *s = h->session;
	struct requesters *requesters = h->requesters;
	bool keep_alive = s->end.keep_alive && !s->outlet.broken && s->node->phase < NODE_DRAINING;
	struct buf early;
	struct client_socket *socket = release(h, &early);

	subscribe_end(s, s->kind->park && s->kind->park(s));
	if (keep_alive)
		requesters_keep_alive(requesters, socket, &early);
	else
		client_socket_close(&socket);
	buf_free(&early);
}

/* A client that waits says nothing; what it says all the same is its next request. False: it is gone. */
static bool read_early(struct http_transport *h)
{
	char bytes[EARLY_MAX];
	ssize_t got = recv(client_socket_fd(h->socket), bytes, sizeof(bytes) - h->session->in.early.len, 0);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0)
		return false;
	if (!h->keeps_early)
		return true;
	buf_add(&h->session->in.early, bytes, (size_t)got);
	session_charge(h->session);
	return buf_ok(&h->session->in.early);
}

/* What is to be told: writing as long as it is full, reading as long as there is room for what comes. */
static void watch(struct http_transport *h, bool full)
{
	bool room = !h->session || h->session->in.early.len < EARLY_MAX; /* no session: while it begins */

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
	if ((events & UV_WRITABLE) && subscribe_writable(h->session))
		finish(h);
}

static ssize_t http_transport_write(void *socket, struct span bytes, bool *full)
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

static int64_t http_transport_queued(void *socket)
{
	return transport_queued(client_socket_fd(((struct http_transport *)socket)->socket));
}

static void http_transport_want_writable(void *socket)
{
	struct http_transport *h = socket;

	/* It took all so far, so it most likely takes more. */
	if (!client_socket_watches(h->socket, UV_WRITABLE))
		client_socket_soon(h->socket);
}

static void http_transport_shut(void *socket)
{
	struct http_transport *h = socket;

	shutdown(client_socket_fd(h->socket), SHUT_RDWR);
	h->is_shut = true;
	client_socket_soon(h->socket);
}

static const struct transport transport = {
	.write = http_transport_write,
	.queued = http_transport_queued,
	.want_writable = http_transport_want_writable,
	.shut = http_transport_shut,
};

void http_transport_hold(struct requester *r, const struct arrival *a)
{
	struct http_transport *h = calloc(1, sizeof(*h));
	struct node *n = r->node;
	struct requesters *requesters = r->all;
	struct client_socket *socket = requester_dismiss(r);

	if (h) {
		*h = (struct http_transport){.socket = socket, .requesters = requesters, .keeps_early = a->keep_alive};
		client_socket_take(socket, h, on_event);
		h->session = arrival_begin(n, &transport, h, a);
	}
	if (!h || !h->session) {
		client_socket_close(&socket);
		free(h);
	}
}
