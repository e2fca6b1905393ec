/*
 * session_setup - the first statement on every connection: sets the session up, and finds out whether PostgreSQL itself or a pooler answers.
 *
 * A pooler that hands a server to each transaction anew (PgBouncer with pool_mode = transaction) keeps no session: what
 * is prepared or set on one server is not there on the next. So it matters who is at the other end:
 *
 *	PostgreSQL	statements are prepared once, the timeouts are the session's, statements are sent in advance
 *	a pooler	nothing is prepared, every transaction brings its timeouts, and one statement is under way at a
 *			time: PgBouncer (1.18) gives the server away at an answer although half of the next statement
 *			has reached it
 *
 * Whatever the database, the role or the server say, a session of ours commits when it says so (synchronous_commit is on, or
 * stronger) and is in READ COMMITTED, which the numbering of messages takes. A session that can only read, on a standby or
 * by a setting, is none: it is made anew until it is one, so nothing has to be restarted after a failover.
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

/* Asks, and sets up the session (timeouts of a statement and of a lock; 0: none) where it is PostgreSQL that is asked. */
bool session_setup_send(PGconn *connection, int64_t timeout_ms) MUST_CHECK;

/*
 * What the answer says.
 *
 *	pooled	out: a pooler
 *	why	out: lent, as long as the answer: why it is false
 *
 * False: this connection is of no use
 */
bool session_setup_read(const PGresult *answer, bool *pooled, const char **why) MUST_CHECK;

/* What session_setup_send() sets up, for one transaction: rides in front of its statement, through a pooler, in pipeline mode. */
bool session_setup_send_for_transaction(PGconn *connection, int64_t timeout_ms) MUST_CHECK;

/* Drops notifications: nobody listens on this connection, but behind a pooler somebody else may have, on the server. */
void session_setup_drop_notifications(PGconn *connection);
