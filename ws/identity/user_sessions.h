/*
 * user_sessions - who has connections on this node, and which (identity_take()).
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"
#include "ws/node.h"

struct user {
	UT_hash_handle hh;	      /* by id */
	struct session_list sessions; /* of this user */
	unsigned connections;
	unsigned asked; /* the last time that the database was asked for the account, by accounts' count; 0: never */
	char id[];	/* NUL-terminated */
};

/* One connection more: the user, made if new; NULL: over `connections_max` (0: unlimited) or no memory (*full tells).
 */
struct user *user_sessions_enter(struct user **users, const char *id, size_t connections_max, bool *full);

/* NULL: the user has no connection here. */
struct user *user_sessions_find(struct user *users, const char *id);

/* One less. */
void user_sessions_leave(struct user **users, struct user *u);
