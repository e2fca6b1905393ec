#include "ws/loop/client_socket.h"

#include <stdlib.h>
#include <unistd.h>

#define TURN_LINES 512 /* before the loop looks at the sockets again: a few ms */

struct line {
	uv_poll_t poll;
	TAILQ_ENTRY(line) link; /* in lines.soon while is_soon */
	struct lines *all;	/* borrowed */
	void *owner;		/* borrowed */
	line_event event;
	int fd;
	int events; /* that are watched */
	bool is_soon;
};

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct line *l = poll->data;

	l->event(l->owner, status, events);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void not_soon(struct line *l)
{
	if (l->is_soon)
		TAILQ_REMOVE(&l->all->soon, l, link);
	l->is_soon = false;
}

void lines_run(struct lines *all)
{
	struct line *l;

	for (int n = 0; n < TURN_LINES && (l = TAILQ_FIRST(&all->soon)); n++) {
		not_soon(l);
		l->event(l->owner, 0, UV_WRITABLE);
	}
	if (TAILQ_EMPTY(&all->soon))
		uv_idle_stop(&all->turn);
}

static void on_turn(uv_idle_t *turn)
{
	lines_run(turn->data);
}

void lines_init(struct lines *all, uv_loop_t *loop)
{
	all->loop = loop;
	TAILQ_INIT(&all->soon);
	uv_idle_init(loop, &all->turn);
	all->turn.data = all;
}

enum err line_new(struct line **l, struct lines *all, int fd)
{
	struct line *made = calloc(1, sizeof(*made));

	if (!made || uv_poll_init(all->loop, &made->poll, fd) != 0) {
		free(made);
		close(fd);
		return ERR_MEMORY;
	}
	made->poll.data = made;
	made->all = all;
	made->fd = fd;
	*l = made;
	return OK;
}

void line_take(struct line *l, void *owner, line_event event)
{
	not_soon(l);
	l->owner = owner;
	l->event = event;
	line_watch(l, UV_READABLE);
}

int line_fd(const struct line *l)
{
	return l->fd;
}

void line_watch(struct line *l, int events)
{
	/* libuv would take it out of epoll and put it in again. */
	if (l->events == events)
		return;
	l->events = events;
	uv_poll_start(&l->poll, events, on_event);
}

bool line_watches(const struct line *l, int events)
{
	return (l->events & events) == events;
}

void line_soon(struct line *l)
{
	if (l->is_soon)
		return;
	l->is_soon = true;
	TAILQ_INSERT_TAIL(&l->all->soon, l, link);
	uv_idle_start(&l->all->turn, on_turn);
}

int line_leave(struct line **l)
{
	int fd = (*l)->fd;

	not_soon(*l);
	uv_close((uv_handle_t *)&(*l)->poll, on_closed);
	*l = NULL;
	return fd;
}

void line_close(struct line **l)
{
	close(line_leave(l));
}
