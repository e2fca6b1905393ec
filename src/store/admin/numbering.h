/*
 * numbering - what the epochs of all topics have in common, for the command (spec 3.4: a cursor is an epoch and a seq).
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/blocking/db.h"

/*
 * Makes every epoch another: after a restore that PostgreSQL itself does not show (a volume's snapshot). All clients are
 * told that they may have missed something.
 *
 * ERR_AWAY, ERR_DATABASE; db_problem() says more
 */
enum err numbering_renew(struct db *db) MUST_CHECK;

/*
 * Whether a failover makes every epoch another: yes, unless the standby that takes over has all that was acknowledged
 * (synchronous replication). It is kept in the database, so it is the same for all programs. Changing it makes every epoch
 * another once.
 *
 * Errors as above.
 */
enum err numbering_by_timeline(struct db *db, bool by_timeline) MUST_CHECK;
