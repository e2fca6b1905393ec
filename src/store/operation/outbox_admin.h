/*
 * outbox_admin - what waits to be relayed, and what was given up: for the command, and the page /admin.
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

/*
 *	db	logged in as tidings_publisher, or as who migrates; so below
 *	failed	what was given up alone
 *	json	an array of objects is added
 */
enum err outbox_admin_list(struct db *db, bool failed, int64_t limit, struct buf *json) MUST_CHECK;

enum outbox_order { OUTBOX_RETRY, OUTBOX_DROP };

/*
 * Has it relayed now, or forgotten.
 *
 *	ids	NULL: all that was given up
 *	done	out: how much of it was given up, and is no more
 *
 * ERR_AWAY, ERR_UNKNOWN, ERR_DATABASE
 */
enum err outbox_admin_order(struct db *db, enum outbox_order order, const char *const *ids, size_t count,
			    int64_t *done) MUST_CHECK;
