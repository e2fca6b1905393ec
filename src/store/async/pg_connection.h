/*
 * pg_connection - one connection to PostgreSQL that never blocks and is made anew by itself.
 *
 * The event loop is its owner's: ops.watch() says which descriptor and deadline to watch, and the owner tells when they are
 * ready or due. A lost connection is made anew, with jittered backoff, until pg_connection_close(): each host in turn
 * (store/wire/hosts.h), beginning with the one that was not found bad.
 *
 *	ops.watch(fd, read, write, due)	-> the loop -> pg_connection_ready() and pg_connection_due()
 *
 *	PG_DOWN -> PG_LOOKING_UP -> PG_CONNECTING -> PG_SETTING_UP -> PG_SET_UP -> PG_UP
 *	any of them -- lost, or no answer in time --> PG_DOWN, until the next attempt
 *
 * A server that hangs is found out: what was asked has to be answered a second after the server should have given it up,
 * and where nothing was heard for 2 s something is asked. Connections that share their hosts tell each other.
 *
 * Layer    store.
 * Threads  none: the event loop's. Names of hosts are looked up by threads that end by themselves.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/wire/hosts.h"

struct pg_connection; /* opaque */

struct pg_connection_ops {
	/*
	 * Watch this descriptor for these, and nothing else any more; call pg_connection_due() at `due_ms` (monotonic). fd -1:
	 * nothing to watch, and whatever was watched is about to be closed; due_ms 0: no deadline.
	 */
	void (*watch)(void *loop, int fd, bool read, bool write, int64_t due_ms);
	/* Connected, and the database answers: statements may be sent. */
	void (*up)(void *context);
	/* Lost, or given up: nothing that was sent will be answered. Called after up() only. */
	void (*down)(void *context);
	/* Bytes were read: look for results. */
	void (*readable)(void *context);
	/* Nothing was heard for a while, and nothing is awaited: ask whether the server can still write (PG_CONNECTION_PROBE). */
	void (*probe)(void *context);
};

/*
 * Begins to connect.
 *
 *	ops, loop, context	borrowed until pg_connection_close()
 *	hosts, default_user, application_name, timeout_ms	as conninfo_new()
 *	name			borrowed: for the log ("queries")
 */
enum err pg_connection_open(struct pg_connection **c, const char *name, struct hosts *hosts, const char *default_user,
			    const char *application_name, int64_t timeout_ms, const struct pg_connection_ops *ops,
			    void *loop, void *context) MUST_CHECK;
void pg_connection_close(struct pg_connection **c);

bool pg_connection_is_up(const struct pg_connection *c);

void pg_connection_ready(struct pg_connection *c, bool readable, bool writable);
void pg_connection_due(struct pg_connection *c);

/* Sends what libpq holds, and watches for what it cannot send yet. A broken connection shows when it is read (never in
 * here). */
void pg_connection_flush(struct pg_connection *c);

/*
 * What is asked on it may wait for a standby. So that there is no answer says nothing of its server yet: the connections that
 * share its hosts are told when another server serves it.
 */
void pg_connection_may_wait(struct pg_connection *c);

/* Gives the connection up and makes a new one; `why` goes into the log. */
void pg_connection_drop(struct pg_connection *c, const char *why);

/* The same because the server is of no use to anybody: the next attempt begins with the next host. */
void pg_connection_leave_server(struct pg_connection *c, const char *why);
