/*
 * device_admin - the devices of a user: clients that keep no cursor, and whose places are kept by their names (spec section 7).
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/blocking/db.h"

/* Appends a JSON array of a user's devices, those used last first. ERR_AWAY, ERR_DATABASE, ERR_MEMORY */
enum err device_admin_list(struct db *db, const char *user_id, struct buf *json) MUST_CHECK;

/*
 * Forgets one: its next client begins as one that was never here.
 *
 *	found	out: it was there
 */
enum err device_admin_forget(struct db *db, const char *user_id, const char *name, bool *found) MUST_CHECK;
