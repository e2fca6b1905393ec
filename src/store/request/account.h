/*
 * account - whether a user has an active account, where users need one (TIDINGS_REQUIRE_USER).
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/blocking/db.h"

/* Whether tidings.app_user has this user, active. ERR_AWAY, ERR_DATABASE, ERR_MEMORY */
enum err account_is_active(struct db *db, const char *user_id, bool *active) MUST_CHECK;
