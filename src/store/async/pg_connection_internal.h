/*
 * pg_connection_internal - the connection itself, for files of this folder only.
 *
 * Layer    store.
 */
#pragma once

#include <libpq-fe.h>

#include "store/async/pg_connection.h"

/* Asks nothing of a server but to be there: whether it is of no use. One row, one column. */
#define PG_CONNECTION_PROBE "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'"
#define PG_CONNECTION_NO_PRIMARY "a standby, or read-only by its settings"

/* libpq's own: lent, valid until the next call that gets the pg_connection; NULL when down. */
PGconn *pg_connection_handle(const struct pg_connection *c);

/* An answer is awaited from now on, and the server is left when none comes in time; false: none is. */
void pg_connection_await(struct pg_connection *c, bool answer);

/* A pooler answered (store/wire/session_setup.h). Of a connection that is up. */
bool pg_connection_is_pooled(const struct pg_connection *c);

/* Whether a commit since the last call may be on that server alone (store/wire/notice.h). */
bool pg_connection_take_unreplicated(struct pg_connection *c);
