/*
 * pg_connection_internal - the connection itself, for files of this folder only.
 *
 * Layer    store.
 */
#pragma once

#include <libpq-fe.h>

#include "store/async/pg_connection.h"

/* Asks nothing of a server but to be there: whether it is of no use. One row, one column. */
#define LINK_PROBE "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'"
#define LINK_NO_PRIMARY "a standby, or read-only by its settings"

/* Lent, valid until the next call that gets the link; NULL when down. */
PGconn *link_connection(const struct link *l);

/* An answer is awaited from now on, and the server is left when none comes in time; false: none is. */
void link_await(struct link *l, bool answer);

/* A pooler answered (store/wire/session_setup.h). Of a link that is up. */
bool link_is_pooled(const struct link *l);

/* Whether a commit since the last call may be on that server alone (store/wire/notice.h). */
bool link_take_unreplicated(struct link *l);
