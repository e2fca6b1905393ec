/*
 * bench - what the load programs share: an event loop, a clock, percentiles, options.
 *
 * A load program either gives a true figure or none: whatever goes wrong ends it with one sentence and status 1.
 *
 * Layer    tests: libc only.
 * Threads  none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

#define FILES_MAX 20000 /* open files of one load program: more is refused, this is no load test of a network */

/* Prints `program: sentence` to stderr, exits 1. */
_Noreturn void die(const char *format, ...) PRINTF(1, 2);

/* Monotonic. */
int64_t now_ns(void);

/* malloc, calloc or realloc that ends the program instead of failing; zeroed when `p` is NULL. */
void *must_alloc(void *p, size_t bytes);

/* A whole number within limits, or die() with the option's name. */
int64_t option_number(const char *name, const char *text, int64_t min, int64_t max);

/*
 * Starts every load program: dies with its parent (an interrupted script leaves nothing behind), ignores SIGPIPE, may
 * open `files` files.
 */
void bench_start(size_t files);

/*
 * The value that `percent` of the sorted values are not above (nearest rank).
 *
 *	values	sorted here, in place
 */
int64_t percentile(int64_t *values, size_t count, double percent);

/* Something in the loop; the first member of what it belongs to. */
struct watch {
	void (*ready)(struct watch *w, uint32_t events); /* EPOLLIN, …; may free its own watch, not another's */
	int fd;						 /* owned by its owner */
};

/* An epoll descriptor; lives as long as the program. */
int loop_new(void);
void loop_add(int loop, struct watch *w, uint32_t events);
void loop_change(int loop, struct watch *w, uint32_t events);

/* Waits at most `timeout_ms` (-1: for good), and serves what is ready. */
void loop_turn(int loop, int timeout_ms);

/* A TCP socket to host:port (an address or `localhost`), non-blocking, the connection possibly still under way. */
int connect_start(const char *host, int port);
