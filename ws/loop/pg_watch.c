#include "ws/loop/pg_watch.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log/log.h"

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct pg_watch *w = poll->data;

	/* An error shows when the descriptor is read, once all that came before it has been; and libuv has stopped. */
	if (status < 0)
		uv_poll_start(poll, w->events, on_poll);
	pg_connection_ready(w->connection, status < 0 || (events & UV_READABLE), status >= 0 && (events & UV_WRITABLE));
}

static void on_timer(uv_timer_t *timer)
{
	struct pg_watch *w = timer->data;

	w->due_ms = 0;
	pg_connection_due(w->connection);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

void pg_watch_init(struct pg_watch *w, uv_loop_t *loop)
{
	*w = (struct pg_watch){.loop = loop, .fd = -1};
}

static void stop_poll(struct pg_watch *w)
{
	if (!w->poll)
		return;
	uv_poll_stop(w->poll);
	uv_close((uv_handle_t *)w->poll, on_closed);
	w->poll = NULL;
	w->fd = -1;
	w->events = 0;
}

static void watch_fd(struct pg_watch *w, int fd, int events)
{
	if (fd != w->fd)
		stop_poll(w);
	if (fd < 0 || (w->poll && events == w->events))
		return;
	if (!w->poll) {
		w->poll = calloc(1, sizeof(*w->poll));
		if (!w->poll || uv_poll_init(w->loop, w->poll, fd) != 0) {
			/* The connection's own deadlines bring it back. */
			log_error("cannot watch the database");
			free(w->poll);
			w->poll = NULL;
			return;
		}
		w->poll->data = w;
		w->fd = fd;
	}
	w->events = events;
	uv_poll_start(w->poll, events, on_poll);
}

static void watch_time(struct pg_watch *w, int64_t due_ms)
{
	/* Which is told again with each statement, and seldom another. */
	if (due_ms == w->due_ms)
		return;
	if (!w->timer) {
		w->timer = calloc(1, sizeof(*w->timer));
		if (!w->timer)
			return;
		uv_timer_init(w->loop, w->timer);
		w->timer->data = w;
	}
	w->due_ms = due_ms;
	if (due_ms == 0) {
		uv_timer_stop(w->timer);
	} else {
		int64_t wait_ms = due_ms - clock_monotonic_ms();

		uv_update_time(w->loop);
		uv_timer_start(w->timer, on_timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
	}
}

void pg_watch_set(void *watch, int fd, bool read, bool write, int64_t due_ms)
{
	struct pg_watch *w = watch;

	watch_fd(w, fd, (read ? UV_READABLE : 0) | (write ? UV_WRITABLE : 0));
	watch_time(w, due_ms);
}

void pg_watch_close(struct pg_watch *w)
{
	stop_poll(w);
	if (w->timer) {
		uv_timer_stop(w->timer);
		uv_close((uv_handle_t *)w->timer, on_closed);
		w->timer = NULL;
	}
}
