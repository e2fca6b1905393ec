#include "ws/loop/client_socket.h"

#include <stdlib.h>
#include <unistd.h>

#define TURN_SOCKETS 512 /* before the loop looks at the sockets again: a few ms */

struct client_socket {
	uv_poll_t poll;
	TAILQ_ENTRY(client_socket) link; /* in client_sockets.soon while is_soon */
	struct client_sockets *all;	 /* borrowed */
	void *owner;			 /* borrowed */
	client_socket_event event;
	int fd;
	int events; /* that are watched */
	bool is_soon;
	struct address peer;
};

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct client_socket *s = poll->data;

	s->event(s->owner, status, events);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void not_soon(struct client_socket *s)
{
	if (s->is_soon)
		TAILQ_REMOVE(&s->all->soon, s, link);
	s->is_soon = false;
}

void client_sockets_run(struct client_sockets *all)
{
	struct client_socket *s;

	for (int n = 0; n < TURN_SOCKETS && (s = TAILQ_FIRST(&all->soon)); n++) {
		not_soon(s);
		s->event(s->owner, 0, UV_WRITABLE);
	}
	if (TAILQ_EMPTY(&all->soon))
		uv_idle_stop(&all->turn);
}

static void on_turn(uv_idle_t *turn)
{
	client_sockets_run(turn->data);
}

void client_sockets_init(struct client_sockets *all, uv_loop_t *loop)
{
	all->loop = loop;
	TAILQ_INIT(&all->soon);
	uv_idle_init(loop, &all->turn);
	all->turn.data = all;
}

enum err client_socket_new(struct client_socket **s, struct client_sockets *all, int fd, const struct address *peer)
{
	struct client_socket *made = calloc(1, sizeof(*made));

	if (!made || uv_poll_init(all->loop, &made->poll, fd) != 0) {
		free(made);
		close(fd);
		return ERR_MEMORY;
	}
	made->poll.data = made;
	made->all = all;
	made->fd = fd;
	made->peer = *peer;
	*s = made;
	return OK;
}

void client_socket_take(struct client_socket *s, void *owner, client_socket_event event)
{
	not_soon(s);
	s->owner = owner;
	s->event = event;
	client_socket_watch(s, UV_READABLE);
}

int client_socket_fd(const struct client_socket *s)
{
	return s->fd;
}

const struct address *client_socket_peer(const struct client_socket *s)
{
	return &s->peer;
}

void client_socket_watch(struct client_socket *s, int events)
{
	/* libuv would take it out of epoll and put it in again. */
	if (s->events == events)
		return;
	s->events = events;
	uv_poll_start(&s->poll, events, on_event);
}

bool client_socket_watches(const struct client_socket *s, int events)
{
	return (s->events & events) == events;
}

void client_socket_soon(struct client_socket *s)
{
	if (s->is_soon)
		return;
	s->is_soon = true;
	TAILQ_INSERT_TAIL(&s->all->soon, s, link);
	uv_idle_start(&s->all->turn, on_turn);
}

int client_socket_leave(struct client_socket **s)
{
	int fd = (*s)->fd;

	not_soon(*s);
	uv_close((uv_handle_t *)&(*s)->poll, on_closed);
	*s = NULL;
	return fd;
}

void client_socket_close(struct client_socket **s)
{
	close(client_socket_leave(s));
}
