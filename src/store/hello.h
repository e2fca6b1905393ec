/*
 * hello - the first statement on every connection: who answers, PostgreSQL itself or a pooler?
 *
 * A pooler that hands a server to each transaction anew (PgBouncer with pool_mode = transaction) keeps no session: what
 * is prepared or set on one server is not there on the next. So it matters who is at the other end:
 *
 *	PostgreSQL	statements are prepared once, the timeouts are the session's, statements are sent in advance
 *	a pooler	nothing is prepared, every transaction brings its timeouts, and one statement is under way at a
 *			time: PgBouncer (1.18) gives the server away at an answer although half of the next statement
 *			has reached it
 *
 * They are told apart by the process id that the connection was given for cancelling: a pooler makes up its own. A
 * pooler also lets us in when there is no server behind it; that somebody answers shows here too.
 *
 * Layer    store: libpq-fe.h is for files of this folder only.
 */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"

/* Asks, and sets the timeouts (of a statement and of a lock; 0: none) where it is PostgreSQL that is asked. */
bool hello_send(PGconn *connection, int64_t timeout_ms) MUST_CHECK;

/*
 * What the answer says.
 *
 *	pooled	out: a pooler
 *
 * False: it is not an answer to this
 */
bool hello_read(const PGresult *answer, bool *pooled) MUST_CHECK;

/* Rides in front of a statement in its transaction, through a pooler: in pipeline mode. */
bool hello_send_timeouts(PGconn *connection, int64_t timeout_ms) MUST_CHECK;

/* Drops notifications: nobody listens on this connection, but behind a pooler somebody else may have, on the server. */
void hello_drop_notifications(PGconn *connection);
