#include "ws/visitor.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "domain/problem.h"

#define LINGER_MAX_MS 2000 /* for the client to read a refusal, before the socket goes */

static void on_closed(uv_handle_t *handle)
{
	struct visitor *v = handle->data;

	buf_free(&v->in);
	free(v);
}

enum err visitor_new(struct visitor **v, struct node *n, int fd, uv_poll_cb event, void (*left)(struct visitor *v))
{
	struct visitor *made = calloc(1, sizeof(*made));

	if (!made || uv_poll_init(n->loop, &made->poll, fd) != 0) {
		free(made);
		close(fd);
		return ERR_MEMORY;
	}
	made->poll.data = made;
	made->node = n;
	made->left = left;
	made->fd = fd;
	uv_poll_start(&made->poll, UV_READABLE, event);
	*v = made;
	return OK;
}

int visitor_dismiss(struct visitor *v)
{
	int fd = v->fd;

	uv_poll_stop(&v->poll);
	uv_close((uv_handle_t *)&v->poll, on_closed);
	v->left(v);
	return fd;
}

void visitor_send_last(struct visitor *v, struct buf *reply)
{
	/* It fits into an empty socket buffer; a peer that makes it not fit gets none. */
	if (buf_ok(reply) && send(v->fd, reply->bytes, reply->len, MSG_NOSIGNAL) == (ssize_t)reply->len &&
	    shutdown(v->fd, SHUT_WR) == 0) {
		v->state = VISITOR_LINGERING;
		v->due_ms = clock_monotonic_ms() + LINGER_MAX_MS;
	} else {
		close(visitor_dismiss(v));
	}
	buf_free(reply);
}

void visitor_refuse(struct visitor *v, int status, const char *headers, const char *detail)
{
	struct problem problem = {.status = status, .detail = detail};
	struct buf body = BUF_EMPTY, reply = BUF_EMPTY;

	problem_write(&body, &problem);
	buf_printf(&reply,
		   "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\nCache-Control: "
		   "no-store\r\n"
		   "Connection: close\r\n%s\r\n",
		   status, problem_title(status), body.len, headers);
	buf_add(&reply, body.bytes, body.len);
	buf_free(&body);
	visitor_send_last(v, &reply);
}
