#include "ws/subscribe/parked_polls.h"

#include <stdlib.h>
#include <string.h>

#include "ws/deliver/presence.h"
#include "ws/identity/session_audit.h"
#include "ws/session/user_sessions.h"

/* A poller that may come back. */
struct absent {
	TAILQ_ENTRY(absent) same;	     /* in its group */
	TAILQ_ENTRY(absent) link;	     /* in grace.by_due */
	UT_hash_handle hh;		     /* by id */
	struct uuid id;			     /* of its connection */
	struct group *group;		     /* borrowed */
	struct subscription **subscriptions; /* owned, each a reference */
	unsigned count;
	int64_t due_ms;
};

/* Who could take each other's place: one user, in one role, for the same topics. The longest absent is first. */
struct group {
	UT_hash_handle hh; /* by key */
	TAILQ_HEAD(, absent) absents;
	struct owner *owner; /* borrowed */
	TAILQ_ENTRY(group) of_owner;
	char *user_id; /* in `key`; NULL: anonymous */
	char key[];    /* user id, NUL, role, topics */
};

/* A user who has absent pollers. */
struct owner {
	UT_hash_handle hh; /* by user_id */
	TAILQ_HEAD(, group) groups;
	char user_id[]; /* "": all who are anonymous */
};

struct grace {
	struct node *node;
	struct group *groups;
	struct owner *owners;
	struct absent *by_id;
	TAILQ_HEAD(, absent) by_due;
	size_t count;
	struct buf key; /* that is looked for */
};

enum err grace_new(struct grace **g, struct node *n)
{
	*g = calloc(1, sizeof(**g));
	if (!*g)
		return ERR_MEMORY;
	(*g)->node = n;
	TAILQ_INIT(&(*g)->by_due);
	return OK;
}

static void free_owner_if_last(struct grace *g, struct owner *o)
{
	if (TAILQ_EMPTY(&o->groups)) {
		HASH_DEL(g->owners, o);
		free(o);
	}
}

static void free_group_if_last(struct grace *g, struct group *group)
{
	struct owner *o = group->owner;

	if (!TAILQ_EMPTY(&group->absents))
		return;
	HASH_DEL(g->groups, group);
	TAILQ_REMOVE(&o->groups, group, of_owner);
	free(group);
	free_owner_if_last(g, o);
}

/* Takes it out of all lists; its subscriptions are the caller's, and its group is freed when it was the last. */
static struct subscription **release(struct grace *g, struct absent *a)
{
	struct subscription **subscriptions = a->subscriptions;

	TAILQ_REMOVE(&a->group->absents, a, same);
	free_group_if_last(g, a->group);
	HASH_DEL(g->by_id, a);
	TAILQ_REMOVE(&g->by_due, a, link);
	g->count--;
	free(a);
	return subscriptions;
}

/* It did not come back. */
static void end(struct grace *g, struct absent *a)
{
	audit_poller_gone(a->subscriptions[0]);
	for (unsigned i = 0; i < a->count; i++) {
		ledger_closed(g->node->ledger, a->subscriptions[i]);
		subscription_end(a->subscriptions[i], g->node);
		subscription_unref(a->subscriptions[i]);
	}
	free(release(g, a));
}

void grace_free(struct grace **g)
{
	if (!*g)
		return;
	while (!TAILQ_EMPTY(&(*g)->by_due))
		end(*g, TAILQ_FIRST(&(*g)->by_due));
	buf_free(&(*g)->key);
	free(*g);
	*g = NULL;
}

static void make_key(struct buf *key, const struct session *s)
{
	const char *user_id = s->user ? s->user->id : "";

	buf_clear(key);
	buf_add(key, user_id, strlen(user_id) + 1);
	buf_add_text(key, role_text(s->role));
	for (unsigned i = 0; i < s->subscriptions_count; i++) {
		buf_add_text(key, ",");
		buf_add_text(key, subscription_topic(s->subscriptions[i]));
	}
}

static struct group *find_group(struct grace *g, const struct session *s)
{
	struct group *found = NULL;

	make_key(&g->key, s);
	if (buf_ok(&g->key))
		HASH_FIND(hh, g->groups, g->key.bytes, g->key.len, found);
	return found;
}

/* NULL: no memory. */
static struct owner *make_owner(struct grace *g, const char *user_id)
{
	size_t len = strlen(user_id);
	struct owner *made;

	HASH_FIND(hh, g->owners, user_id, len, made);
	if (made)
		return made;
	made = calloc(1, sizeof(*made) + len + 1);
	if (!made)
		return NULL;
	TAILQ_INIT(&made->groups);
	memcpy(made->user_id, user_id, len + 1);
	HASH_ADD_KEYPTR(hh, g->owners, made->user_id, len, made);
	if (!HASH_HAS(hh, made)) {
		free(made);
		return NULL;
	}
	return made;
}

/* NULL: no memory. */
static struct group *make_group(struct grace *g, const struct session *s)
{
	struct group *made = find_group(g, s);
	struct owner *o;

	if (made || !buf_ok(&g->key))
		return made;
	o = make_owner(g, g->key.bytes);
	if (!o)
		return NULL;
	made = calloc(1, sizeof(*made) + g->key.len);
	if (made) {
		TAILQ_INIT(&made->absents);
		memcpy(made->key, g->key.bytes, g->key.len);
		made->user_id = s->user ? made->key : NULL;
		made->owner = o;
		HASH_ADD_KEYPTR(hh, g->groups, made->key, g->key.len, made);
	}
	if (!made || !HASH_HAS(hh, made)) {
		free(made);
		free_owner_if_last(g, o);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&o->groups, made, of_owner);
	return made;
}

bool grace_keep(struct grace *g, struct session *s)
{
	const struct config *c = g->node->config;
	struct absent *a;

	if (c->poll_grace_s == 0)
		return false;
	while (g->count >= (size_t)c->connections_max)
		end(g, TAILQ_FIRST(&g->by_due));
	a = calloc(1, sizeof(*a));
	if (a)
		a->group = make_group(g, s);
	if (!a || !a->group) {
		free(a);
		return false;
	}
	a->id = s->id;
	HASH_ADD(hh, g->by_id, id, sizeof(a->id), a);
	if (!HASH_HAS(hh, a)) {
		free_group_if_last(g, a->group);
		free(a);
		return false;
	}
	a->subscriptions = s->subscriptions;
	a->count = s->subscriptions_count;
	a->due_ms = clock_monotonic_ms() + c->poll_grace_s * 1000;
	for (unsigned i = 0; i < a->count; i++) {
		hub_leave(&a->subscriptions[i]->subscriber);
		a->subscriptions[i]->session = NULL;
		a->subscriptions[i]->subscriber.reader.user_id = a->group->user_id;
	}
	TAILQ_INSERT_TAIL(&a->group->absents, a, same);
	TAILQ_INSERT_TAIL(&g->by_due, a, link);
	g->count++;
	s->subscriptions = NULL;
	s->subscriptions_count = 0;
	return true;
}

bool grace_take(struct grace *g, struct session *s)
{
	struct group *found = find_group(g, s);
	struct subscription **kept;

	if (!found)
		return false;
	kept = release(g, TAILQ_FIRST(&found->absents));
	for (unsigned i = 0; i < s->subscriptions_count; i++) {
		struct subscription *asked = s->subscriptions[i], *sub = kept[i];

		sub->session = s;
		sub->subscriber.reader.user_id = s->user ? s->user->id : NULL;
		sub->wanted = asked->wanted;
		asked->wanted = NULL;
		sub->state = SUBSCRIPTION_ATTACHING;
		subscription_unref(asked);
		s->subscriptions[i] = sub;
	}
	free(kept);
	if (!session_rename(s, &s->subscriptions[0]->subscriber.reader.connection_id))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	return true;
}

void grace_check(struct grace *g, int64_t now_ms)
{
	struct absent *a;

	while ((a = TAILQ_FIRST(&g->by_due)) && now_ms >= a->due_ms)
		end(g, a);
}

void grace_end_connection(struct grace *g, const struct uuid *connection_id)
{
	struct absent *a;

	HASH_FIND(hh, g->by_id, connection_id, sizeof(*connection_id), a);
	if (a)
		end(g, a);
}

static bool is_on(const struct absent *a, const struct hub_topic *topic)
{
	for (unsigned i = 0; i < a->count; i++)
		if (a->subscriptions[i]->subscriber.topic == topic)
			return true;
	return false;
}

static void end_owner(struct grace *g, struct owner *o, const struct hub_topic *topic)
{
	struct group *group = TAILQ_FIRST(&o->groups), *next_group;

	for (; group; group = next_group) {
		struct absent *a = TAILQ_FIRST(&group->absents), *next;

		/* The group goes with its last one, and the user with the last group. */
		next_group = TAILQ_NEXT(group, of_owner);
		for (; a; a = next) {
			next = TAILQ_NEXT(a, same);
			if (!topic || is_on(a, topic))
				end(g, a);
		}
	}
}

void grace_end_user(struct grace *g, const char *user_id, const struct hub_topic *topic)
{
	struct owner *o, *next;

	if (user_id) {
		HASH_FIND_STR(g->owners, user_id, o);
		if (o)
			end_owner(g, o, topic);
		return;
	}
	HASH_ITER (hh, g->owners, o, next)
		end_owner(g, o, topic);
}

void grace_end_stale(struct grace *g)
{
	struct absent *a = TAILQ_FIRST(&g->by_due), *next;

	for (; a; a = next) {
		next = TAILQ_NEXT(a, link);
		for (unsigned i = 0; i < a->count; i++) {
			if (a->subscriptions[i]->subscriber.topic->stale) {
				end(g, a);
				break;
			}
		}
	}
}
