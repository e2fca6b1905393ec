/*
 * overview - how things are, for the command and the page /admin: numbers, topics, connections, in JSON as the database makes it.
 *
 * Layer    store.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/blocking/db.h"

/*
 * What /ws/status tells an administrator.
 *
 *	db	logged in as tidings_status
 *	json	an object is added
 *
 * ERR_AWAY, ERR_DATABASE
 */
enum err overview_totals(struct db *db, struct buf *json) MUST_CHECK;

/*
 * Topics, those in which most happens first.
 *
 *	db	logged in as tidings_status or tidings_publisher
 *	by	rate, lag or clients
 *	json	an array of objects is added
 */
enum err overview_topics(struct db *db, const char *by, int64_t limit, struct buf *json) MUST_CHECK;

/*
 * Connections, the oldest first.
 *
 *	db	logged in as tidings_publisher
 *	user	NULL: of everybody
 *	topic	NULL: of any topic
 *	json	an array of objects is added
 */
enum err overview_connections(struct db *db, const char *user, const char *topic, int64_t limit,
			      struct buf *json) MUST_CHECK;
