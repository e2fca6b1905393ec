/*
 * client_socket - a client's socket in the loop, from when it is accepted until it is closed or libwebsockets has it.
 *
 * Who has it changes: a visitor while the head of a request is read, an http_socket while its reply is held, a visitor
 * again until the next request. The line and its handle go from one to the next: a handle made anew each time took
 * 15 epoll_ctl calls a poll.
 *
 *	line_new() -> line_take() -> line_take() … -> line_close() | line_leave()
 *
 * Layer    ws.
 * Time     an event is never told from inside a function here: only by the loop.
 */
#pragma once

#include <stdbool.h>
#include <sys/queue.h>
#include <uv.h>

#include "base/defs.h"
#include "base/err.h"

struct line; /* opaque */

TAILQ_HEAD(line_list, line);

/* The lines of a node. */
struct lines {
	uv_loop_t *loop; /* borrowed */
	uv_idle_t turn;	 /* active while somebody is in `soon` */
	struct line_list soon;
};

/*
 * The owner is told: `events` are those of uv_poll_t; `status` is below 0 when the socket is of no use any more. The
 * owner may close the line, or give it away.
 */
typedef void (*line_event)(void *owner, int status, int events);

void lines_init(struct lines *all, uv_loop_t *loop);

/*
 * Nothing is watched until somebody takes it.
 *
 *	fd	taken; closed on failure
 */
enum err line_new(struct line **l, struct lines *all, int fd) MUST_CHECK;

/* Another owner (borrowed), who hears of what there is to read. Nothing more is told to the one before. */
void line_take(struct line *l, void *owner, line_event event);

int line_fd(const struct line *l);

/* From now on these events, and no others. */
void line_watch(struct line *l, int events);
bool line_watches(const struct line *l, int events);

/* Those in `soon` are told now; only from the loop. */
void lines_run(struct lines *all);

/* UV_WRITABLE is told once, at one of the loop's next turns, without asking the kernel whether it is so. */
void line_soon(struct line *l);

/* Out of the loop: the socket is the caller's. */
int line_leave(struct line **l);
void line_close(struct line **l);
