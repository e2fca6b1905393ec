/*
 * user_admin - what is kept about a user, for the command.
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
 * Erases it, for good, and ends the user's connections (tidings.forget()).
 *
 *	db	logged in as who migrates
 *	user	a valid id
 *	json	an array is added: {"kind", "deleted", "anonymised"} of each kind of thing, in numbers
 *	erased	out: the sum of these numbers
 *
 * ERR_AWAY, ERR_BUSY, ERR_UNKNOWN, ERR_DATABASE, ERR_MEMORY (it is erased)
 */
enum err user_admin_forget(struct db *db, const char *user, struct buf *json, int64_t *erased) MUST_CHECK;
