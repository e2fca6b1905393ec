/*
 * revocation_admin - ends subscriptions, for the command and the page /admin: where an operator's rule asks tables that tidings does not watch.
 *
 * Layer    store.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "store/blocking/db.h"

/*
 *	db	logged in as tidings_publisher, or as who migrates
 *	user	"": whoever has no token; NULL: everybody, who may come again
 *	topic	a valid name
 *
 * ERR_AWAY, ERR_UNKNOWN, ERR_DATABASE
 */
enum err revocation_admin_revoke(struct db *db, const char *user, const char *topic) MUST_CHECK;
