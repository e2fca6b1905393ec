/*
 * connection_admin - connections, and how they are, on whichever node; orders to close one, to have a user's come again, to have a node
 * take no more of them.
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
	const char *
		subject; /* a connection; for connection_admin_reconnect() a user, for connection_admin_drain() a node */
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

/* Which connections. All borrowed. */
struct connections_question {
	const char *user;  /* NULL: of everybody */
	const char *topic; /* NULL: of any topic */
	const char *after; /* the `next` of an earlier answer; NULL: from the first */
	bool slow;	   /* those alone that are given less than there is */
	int64_t limit;	   /* 1 to 100 */
};

/*
 * A page of connections, the oldest first, as their nodes say; where one says nothing in time, what is known of its connections
 * without it.
 *
 *	json	appended: {"connections":[…],"next":…}
 *
 * ERR_AWAY, ERR_DATABASE
 */
enum err connection_admin_list(struct db *db, const struct connections_question *q, int64_t wait_ms,
			       struct buf *json) MUST_CHECK;

/*
 * Has a node take no new clients and ask those that it has to come again elsewhere, and waits until it has begun.
 *
 *	connections	out: that it has
 *	draining	out: false: it did not say so in time; it may still
 *
 * ERR_FORBIDDEN
 * ERR_NOT_FOUND  there is no such node
 * ERR_AWAY, ERR_UNKNOWN, ERR_DATABASE
 */
enum err connection_admin_drain(struct db *db, const struct admin_request *r, int64_t wait_ms, int64_t *connections,
				bool *draining) MUST_CHECK;
