/*
 * link - one connection to PostgreSQL that never blocks and comes back by itself.
 *
 * It lives in somebody's event loop without knowing which: it says what to watch, and is told when that happened. When
 * the connection is lost it is made anew, with jittered backoff, for as long as the link is open: each host in turn
 * (store/hosts.h), beginning with the one that was not found bad.
 *
 *	ops.watch(fd, read, write, due)	-> the loop -> link_ready() and link_due()
 *
 * A server that hangs is found out: what was asked has to be answered a second after the server should have given it up,
 * and where nothing was heard for 2 s something is asked. Links that share their hosts tell each other.
 *
 * Layer    store.
 * Threads  none: the event loop's. Names of hosts are looked up by threads that end by themselves.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/hosts.h"

struct link; /* opaque */

struct link_ops {
	/*
	 * Watch this descriptor for these, and nothing else any more; call link_due() at `due_ms` (monotonic). fd -1:
	 * nothing to watch, and whatever was watched is about to be closed; due_ms 0: no deadline.
	 */
	void (*watch)(void *loop, int fd, bool read, bool write, int64_t due_ms);
	/* Connected, and the database answers: statements may be sent. */
	void (*up)(void *context);
	/* Lost, or given up: nothing that was sent will be answered. Called after up() only. */
	void (*down)(void *context);
	/* Bytes were read: look for results. */
	void (*readable)(void *context);
	/* Nothing was heard for a while, and nothing is awaited: ask whether the server can still write (LINK_PROBE). */
	void (*probe)(void *context);
};

/*
 * Begins to connect.
 *
 *	ops, loop, context	borrowed for as long as the link lives
 *	hosts, default_user, application_name, timeout_ms	as conninfo_new()
 *	name			borrowed: for the log ("queries")
 */
enum err link_open(struct link **l, const char *name, struct hosts *hosts, const char *default_user,
		   const char *application_name, int64_t timeout_ms, const struct link_ops *ops, void *loop,
		   void *context) MUST_CHECK;
void link_close(struct link **l);

bool link_is_up(const struct link *l);

void link_ready(struct link *l, bool readable, bool writable);
void link_due(struct link *l);

/* Sends what libpq holds, and watches for what it cannot send yet. A broken connection shows when it is read (never in
 * here). */
void link_flush(struct link *l);

/*
 * What is asked on it may wait for a standby. So that there is no answer says nothing of its server yet: the links that share
 * its hosts are told when another server serves it.
 */
void link_may_wait(struct link *l);

/* Gives the connection up and makes a new one; `why` goes into the log. */
void link_drop(struct link *l, const char *why);

/* The same because the server is of no use to anybody: the next attempt begins with the next host. */
void link_leave(struct link *l, const char *why);
