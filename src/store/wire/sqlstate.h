/*
 * sqlstate - what an error of PostgreSQL means to us: the one place that decides (PostgreSQL manual, appendix A).
 *
 * Layer    store.
 */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/err.h"

/*
 * ERR_BUSY when others were in the way, and nothing was done: lock or statement timeout, deadlock, serialization.
 * ERR_AWAY when another try, later or on a new connection, may succeed: connection lost, shutdown, failover, out of
 * resources, a prepared statement that is gone or outdated. ERR_DATABASE otherwise.
 *
 *	sqlstate	borrowed: five characters; NULL or empty (libpq has none when the connection broke) is ERR_AWAY
 */
enum err sqlstate_err(const char *sqlstate);

/* True: who says so, libpq or a pooler, does not know whether the statement was committed. */
bool sqlstate_hides_outcome(const char *sqlstate);

/*
 * True: libpq says so itself, though the connection looks open: it had no memory for the answer. Those behind it may be
 * taken for others.
 */
bool sqlstate_is_missing(const PGconn *connection, const PGresult *result);

/* True: the server has become one that can only be read: no connection to it is of use. */
bool sqlstate_leaves_server(const char *sqlstate);

/* True: the connection that said so must not be used again, though it still looks open. */
bool sqlstate_spoils_connection(const char *sqlstate);
