/*
 * user - how many connections a user has on this node.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"

struct user {
	UT_hash_handle hh; /* by id */
	unsigned connections;
	unsigned asked; /* the last time that the database was asked for the account, by pulse's count; 0: never */
	char id[];	/* NUL-terminated */
};

/* One connection more: the user, made if new; NULL: over `connections_max` (0: unlimited) or no memory (*full tells).
 */
struct user *user_enter(struct user **users, const char *id, size_t connections_max, int *full);

/* Has this user a connection here? */
bool user_is_here(struct user *users, const char *id);

/* One less. */
void user_leave(struct user **users, struct user *u);
