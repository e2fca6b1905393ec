/*
 * watcher - puts a connection (store/async/pg_connection.h) into the libuv loop.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "store/async/pg_connection.h"

struct watcher {
	uv_loop_t *loop;   /* borrowed */
	struct pg_connection *link; /* borrowed; set once the link is open */
	uv_poll_t *poll;   /* owned; NULL when nothing is watched */
	uv_timer_t *timer; /* owned */
	int fd;
	int events;
	int64_t due_ms; /* of the timer; 0: it is stopped */
};

void watcher_init(struct watcher *w, uv_loop_t *loop);

/* pg_connection_ops.watch; `watcher` is a struct watcher. */
void watcher_watch(void *watcher, int fd, bool read, bool write, int64_t due_ms);

/* After the link was closed. */
void watcher_close(struct watcher *w);
