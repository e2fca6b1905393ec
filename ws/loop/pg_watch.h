/*
 * pg_watch - puts a connection to PostgreSQL (store/async/pg_connection.h) into the libuv loop.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "store/async/pg_connection.h"

struct pg_watch {
	uv_loop_t *loop;		  /* borrowed */
	struct pg_connection *connection; /* borrowed; set once it is open */
	uv_poll_t *poll;		  /* owned; NULL when nothing is watched */
	uv_timer_t *timer;		  /* owned */
	int fd;
	int events;
	int64_t due_ms; /* of the timer; 0: it is stopped */
};

void pg_watch_init(struct pg_watch *w, uv_loop_t *loop);

/* pg_connection_ops.watch; `watch` is a struct pg_watch. */
void pg_watch_set(void *watch, int fd, bool read, bool write, int64_t due_ms);

/* After the connection was closed. */
void pg_watch_close(struct pg_watch *w);
