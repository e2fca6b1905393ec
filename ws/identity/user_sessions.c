#include "ws/identity/user_sessions.h"

#include <stdlib.h>
#include <string.h>

/* NULL: no memory. */
static struct user *add(struct user **users, const char *id)
{
	size_t len = strlen(id);
	struct user *u = calloc(1, sizeof(*u) + len + 1);

	if (!u)
		return NULL;
	TAILQ_INIT(&u->sessions);
	memcpy(u->id, id, len + 1);
	HASH_ADD_KEYPTR(hh, *users, u->id, len, u);
	if (!HASH_HAS(hh, u)) {
		free(u);
		return NULL;
	}
	return u;
}

struct user *user_sessions_enter(struct user **users, const char *id, size_t connections_max, bool *full)
{
	struct user *u = user_sessions_find(*users, id);

	*full = u && connections_max > 0 && u->connections >= connections_max;
	if (*full)
		return NULL;
	if (!u)
		u = add(users, id);
	if (u)
		u->connections++;
	return u;
}

struct user *user_sessions_find(struct user *users, const char *id)
{
	struct user *u;

	HASH_FIND_STR(users, id, u);
	return u;
}

void user_sessions_leave(struct user **users, struct user *u)
{
	if (--u->connections > 0)
		return;
	HASH_DEL(*users, u);
	free(u);
}
