/*
 * connection_admin - the health of a connection, and orders to close it or to have its user come again, on whichever node it is.
 *
 * A node carries an order out soon, not at once: so these calls ask again until it is done, or wait_ms are over.
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/blocking/db.h"

/* Who asks, and about what. All borrowed. */
struct admin_request {
	const char *user_id;
	const char *role;
	const char *subject; /* a connection; for connection_admin_reconnect() a user */
};

/*
 * How a connection is, as its node says; where that says nothing in time, as it was last known.
 *
 *	health	out: appended: {"connection_id":…,"health":{…}}
 *
 * ERR_FORBIDDEN  theirs it is not
 * ERR_NOT_FOUND  no node that lives has it
 * ERR_AWAY, ERR_DATABASE
 */
enum err connection_admin_health(struct db *db, const struct admin_request *r, int64_t wait_ms,
				 struct buf *health) MUST_CHECK;

/*
 * Has a connection closed, and waits until it is gone.
 *
 *	gone	out: false: its node did not confirm that in time; it may still be closed
 *
 * ERR_UNKNOWN  its node may have been told; else as connection_admin_health()
 */
enum err connection_admin_disconnect(struct db *db, const struct admin_request *r, int64_t wait_ms,
				     bool *gone) MUST_CHECK;

/*
 * Tells every connection of a user to come again.
 *
 *	connections	out: how many they are
 *
 * ERR_FORBIDDEN, ERR_AWAY, ERR_UNKNOWN, ERR_DATABASE
 */
enum err connection_admin_reconnect(struct db *db, const struct admin_request *r, int64_t *connections) MUST_CHECK;
