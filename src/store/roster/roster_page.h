/*
 * roster_page - who is on a topic, for GET /ws/presence (spec section 7).
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

struct roster_question {
	const char *user_id, *role; /* who asks */
	const char *topic;
	const char *after; /* users after this one; NULL: from the first */
	int64_t limit;	   /* users */
	int64_t grace_ms;
	bool require_user; /* refuse users who are not in tidings.app_user, or not active */
};

/*
 *	db	logged in as tidings_publisher
 *	json	an object is added
 *
 * ERR_FORBIDDEN, ERR_NOT_FOUND, ERR_AWAY, ERR_DATABASE
 */
enum err roster_page_read(struct db *db, const struct roster_question *q, struct buf *json) MUST_CHECK;
