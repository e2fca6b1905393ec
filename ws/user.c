#include "ws/user.h"

#include <stdlib.h>
#include <string.h>

struct user *user_enter(struct user **users, const char *id, size_t connections_max, int *full)
{
	struct user *u;
	size_t len = strlen(id);

	*full = 0;
	HASH_FIND(hh, *users, id, len, u);
	if (!u) {
		u = calloc(1, sizeof(*u) + len + 1);
		if (!u)
			return NULL;
		memcpy(u->id, id, len + 1);
		HASH_ADD_KEYPTR(hh, *users, u->id, len, u);
		if (!HASH_HAS(hh, u)) {
			free(u);
			return NULL;
		}
	}
	if (connections_max > 0 && u->connections >= connections_max) {
		*full = 1;
		return NULL;
	}
	u->connections++;
	return u;
}

bool user_is_here(struct user *users, const char *id)
{
	struct user *u;

	HASH_FIND_STR(users, id, u);
	return u != NULL;
}

void user_leave(struct user **users, struct user *u)
{
	if (--u->connections > 0)
		return;
	HASH_DEL(*users, u);
	free(u);
}
