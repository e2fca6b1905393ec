/*
 * history - what a topic's queue holds, for one reader (spec 3.4 and 7, GET /ws/history).
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
#include "domain/topic/message_type.h"
#include "domain/topic/topic.h"
#include "store/blocking/db.h"

struct history {
	struct cursor next;  /* where to go on from */
	bool recovered;	     /* nothing between the cursor and these messages is lost */
	int64_t missed_from; /* what is lost, where it is known; 0: not known, or nothing */
	int64_t missed_to;
	struct buf messages; /* owned: JSON objects joined by commas; the caller frees it, whatever the outcome */
};

/* Who reads. */
struct history_reader {
	const char *user_id; /* borrowed; NULL: anonymous */
	enum role role;
	bool require_user; /* refuse users who are not in tidings.app_user, or not active */
};

/* What of it. */
struct history_part {
	char topic[TOPIC_NAME_MAX + 1];
	bool has_since; /* what comes after `since`; else the newest */
	struct cursor since;
	int64_t before;		     /* the newest before this seq; 0: the newest of all */
	int64_t limit;		     /* messages */
	struct message_types *types; /* owned; NULL: all */
};

/*
 *	h	all zero
 *
 * ERR_FORBIDDEN  not theirs
 * ERR_NOT_FOUND  no such diagnosis: told to service and admin only
 * ERR_AWAY, ERR_DATABASE
 */
enum err history_read(struct db *db, const struct history_reader *reader, const struct history_part *part,
		      struct history *h) MUST_CHECK;
