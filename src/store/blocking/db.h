/*
 * db - one blocking connection to PostgreSQL.
 *
 * It is opened, may be lost, and is opened again by whoever uses it, at a pace of their own (base/backoff.h).
 * Statements are prepared on first use, once a connection. A statement is given up on this side too, a second after the
 * server should have: a server that hangs is a server that is away, also for the connections that are like this one; the
 * next attempt begins with the next host. Through a pooler nothing is prepared, and each statement brings its timeouts
 * (store/wire/session_setup.h). Every error is logged once, with its SQLSTATE and its primary message, without parameters, query text
 * or password; an outage is one line for all connections that are like each other.
 *
 * Files of this folder also include store/blocking/db_internal.h, which has the calls that speak libpq's types.
 *
 * Layer    store.
 * Threads  one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

struct db; /* opaque */

/* As db_open(), without connecting: db_ensure() does that when it is needed. ERR_CONFIG */
enum err db_new(struct db **db, const char *conninfo, const char *default_user, const char *application_name,
		int64_t timeout_ms) MUST_CHECK;

/*
 * One more connection like `model`, of which it may be used independently, by another thread: not connected yet. What one of
 * them finds out about the servers (store/wire/hosts.h) is known to the others.
 */
enum err db_new_like(struct db **db, const struct db *model) MUST_CHECK;

/*
 * Makes *db and connects it.
 *
 *	conninfo		copied: TIDINGS_DATABASE, what libpq takes
 *	default_user		copied: the role when conninfo names none; NULL: libpq's default
 *	application_name	borrowed, for good
 *	timeout_ms		of a statement and of a lock; 0: none
 *
 * ERR_AWAY    cannot be connected now; *db is made all the same, and db_reopen() tries again
 * ERR_CONFIG  conninfo is malformed; *db is NULL
 */
enum err db_open(struct db **db, const char *conninfo, const char *default_user, const char *application_name,
		 int64_t timeout_ms) MUST_CHECK;

/* False once the connection was lost or could not be made. */
bool db_is_open(const struct db *db);

/*
 * Drops the connection, if any, and makes a new one, on which the database answers. Takes up to 3 s for each address of a
 * host (connect_timeout), and as long again for the first answer. ERR_AWAY  not now
 */
enum err db_reopen(struct db *db) MUST_CHECK;

/*
 * Before a statement, where a wait may lie behind: notices that the connection was lost meanwhile (a restarted server), or
 * that another one found its server to hang, and then makes a new one.
 *
 * ERR_AWAY  there is none, and none can be made now
 */
enum err db_ensure(struct db *db) MUST_CHECK;

/*
 * How long the server works on a statement, and waits for a lock, from now on. How long an answer is waited for here stays
 * what db_open() was told. Errors as those of a statement.
 */
enum err db_limit(struct db *db, int64_t statement_ms) MUST_CHECK;

/*
 * Waits for a notification with this payload, of what an earlier statement of this connection listens to; whatever else comes
 * is dropped. A pooler brings none.
 *
 * ERR_NOT_FOUND  none came within wait_ms
 * ERR_AWAY
 */
enum err db_wait_notification(struct db *db, const char *payload, int64_t wait_ms) MUST_CHECK;

/* The role that it is logged in as; lent, as long as it is open, which it is. */
const char *db_user(const struct db *db);

/* Whether a pooler answered: there is no session on which anything stays. False when it is not open. */
bool db_is_pooled(const struct db *db);

/* What the last error was, for an operator: "42P01: relation … does not exist". Lent, valid until the next call. */
const char *db_problem(const struct db *db);

void db_close(struct db **db);
