/*
 * history - what a topic's queue holds after a cursor, for one reader (spec 3.4, GET /ws/history).
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/caller/token.h"
#include "domain/topic/cursor.h"
#include "store/blocking/db.h"

struct history {
	struct cursor next;  /* where to go on from */
	bool recovered;	     /* nothing between the cursor and these messages is lost */
	int64_t missed_from; /* what is lost, where it is known; 0: not known, or nothing */
	int64_t missed_to;
	struct buf messages; /* owned: JSON objects joined by commas; the caller frees it, whatever the outcome */
};

/*
 *	user_id		NULL: anonymous
 *	require_user	refuse users who are not in tidings.app_user, or not active
 *	since		NULL: the newest
 *	h		all zero
 *
 * ERR_FORBIDDEN  not theirs
 * ERR_NOT_FOUND  no such diagnosis: told to service and admin only
 * ERR_AWAY, ERR_DATABASE
 */
enum err history_read(struct db *db, const char *user_id, enum role role, bool require_user, const char *topic,
		      const struct cursor *since, int64_t limit, struct history *h) MUST_CHECK;
