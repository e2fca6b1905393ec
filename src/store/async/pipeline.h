/*
 * pipeline - statements on one connection, sent without waiting for the answers of those before (libpq's pipeline mode).
 *
 * Through a pooler they wait for each other all the same (store/wire/session_setup.h).
 *
 * Each is a transaction of its own. Answers come in the order of the statements. When the connection is lost, whatever was
 * not answered is answered with ERR_AWAY, and so is what is sent while it is down: nothing waits for a database that is
 * away. What was committed, but may be lost by a failover (store/wire/notice.h), is answered with ERR_UNKNOWN.
 *
 * Layer    store.
 * Threads  none: the event loop's.
 * Memory   the caller bounds how much it has under way.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/async/pg_connection.h"

struct pipeline; /* opaque */

struct pipeline_ops {
	void (*watch)(void *loop, int fd, bool read, bool write, int64_t due_ms); /* as pg_connection_ops */
	void (*up)(void *context);
	void (*down)(void *context);
};

/*
 * As pg_connection_open().
 *
 *	name	static: in the log; the server knows the connection as application_name, static too
 */
enum err pipeline_open(struct pipeline **p, const char *name, const char *application_name, struct hosts *hosts,
		       int64_t timeout_ms, const struct pipeline_ops *ops, void *loop, void *context) MUST_CHECK;
void pipeline_close(struct pipeline **p); /* what is under way is answered with ERR_AWAY first */

bool pipeline_is_up(const struct pipeline *p); /* NULL: it has been closed, and is not up */

/* For whoever tells the connection what happened on its descriptor. Lent. */
struct pg_connection *pipeline_connection(struct pipeline *p);
