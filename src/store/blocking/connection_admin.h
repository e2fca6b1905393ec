/*
 * connection_admin - connections that are asked after, or told to go or to come again, wherever they are.
 *
 * What a node is told it does soon, not at once: so whoever tells it asks again until it is done (control_wait()).
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

/* Who asks, and after what. All borrowed. */
struct control {
	const char *user_id;
	const char *role;
	const char *subject; /* a connection; for control_reconnect() a user */
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
enum err control_health(struct db *db, const struct control *c, int64_t wait_ms, struct buf *health) MUST_CHECK;

/*
 * Has a connection closed, and waits until it is gone.
 *
 *	gone	out: false: its node did not confirm that in time; it may still be closed
 *
 * ERR_UNKNOWN  its node may have been told; else as control_health()
 */
enum err control_disconnect(struct db *db, const struct control *c, int64_t wait_ms, bool *gone) MUST_CHECK;

/*
 * Tells every connection of a user to come again.
 *
 *	connections	out: how many they are
 *
 * ERR_FORBIDDEN, ERR_AWAY, ERR_UNKNOWN, ERR_DATABASE
 */
enum err control_reconnect(struct db *db, const struct control *c, int64_t *connections) MUST_CHECK;
