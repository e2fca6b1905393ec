/*
 * durability - whether the server keeps what it says that it has committed.
 *
 * Sessions of ours see to synchronous_commit themselves (store/wire/session_setup.h); these are the server's own.
 *
 * Layer    store.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/blocking/db.h"

/*
 * Looks at fsync, full_page_writes and the database's encoding.
 *
 *	problem	what is wrong, in words
 *
 * ERR_CONFIG  something is; ERR_AWAY, ERR_BUSY, ERR_DATABASE
 */
enum err durability_check(struct db *db, struct buf *problem) MUST_CHECK;
