#include "ws/identity/session_index.h"

#include "base/hash.h"
#include "ws/identity/user_sessions.h"
#include "ws/session/session.h"

bool session_index_is_over(const struct node *n)
{
	return n->sessions.count - n->sessions.closing_count > (size_t)n->config->connections_max;
}

struct session *session_index_find(const struct node *n, const struct uuid *id)
{
	struct session *found;

	HASH_FIND(by_id, n->sessions.by_id, id, sizeof(*id), found);
	return found;
}

static struct session *first_of(struct user *users, const char *user_id)
{
	const struct user *u = user_sessions_find(users, user_id);

	return u ? TAILQ_FIRST(&u->sessions) : NULL;
}

static bool is_named(const char *user_id)
{
	return user_id && *user_id != '\0';
}

struct session *session_index_first(struct session_walk *w, const struct node *n, const char *user_id)
{
	*w = (struct session_walk){.node = n, .user_id = user_id};
	w->next = is_named(user_id) ? first_of(n->sessions.users, user_id) : TAILQ_FIRST(&n->sessions.all);
	return session_index_next(w);
}

struct session *session_index_next(struct session_walk *w)
{
	struct session *s = w->next;

	if (is_named(w->user_id)) {
		if (!s && !w->live) {
			w->live = true;
			s = first_of(w->node->sessions.live_users, w->user_id);
		}
		w->next = s ? TAILQ_NEXT(s, of_user) : NULL;
		return s;
	}
	while (s && w->user_id && s->user)
		s = TAILQ_NEXT(s, link);
	w->next = s ? TAILQ_NEXT(s, link) : NULL;
	return s;
}
