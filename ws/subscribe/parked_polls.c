#include "ws/subscribe/parked_polls.h"

#include <stdlib.h>
#include <string.h>

#include "ws/deliver/presence.h"
#include "ws/identity/session_audit.h"
#include "ws/identity/user_sessions.h"
#include "ws/metrics/node_metrics.h"
#include "ws/roster/roster_watch.h"

/* A poller that may come back. */
struct parked_poll {
	TAILQ_ENTRY(parked_poll) same;	     /* in its group */
	TAILQ_ENTRY(parked_poll) link;	     /* in parked_polls.by_due */
	UT_hash_handle hh;		     /* by id */
	struct uuid id;			     /* of its connection */
	struct address client;		     /* that the last poll came from */
	struct parked_group *group;	     /* borrowed */
	struct subscription **subscriptions; /* owned, each a reference */
	unsigned count;
	int64_t due_ms;
};

/* Who could take each other's place: one user, in one role, on one device, for the same topics. The longest absent is first. */
struct parked_group {
	UT_hash_handle hh; /* by key */
	TAILQ_HEAD(, parked_poll) polls;
	struct parked_user *owner; /* borrowed */
	TAILQ_ENTRY(parked_group) of_owner;
	char *user_id; /* in `key`; NULL: anonymous */
	char key[];    /* user id, NUL, role, device, topics */
};

/* A user who has absent pollers. */
struct parked_user {
	UT_hash_handle hh; /* by user_id */
	TAILQ_HEAD(, parked_group) groups;
	char user_id[]; /* "": all who are anonymous */
};

struct parked_polls {
	struct node *node;
	struct parked_group *groups;
	struct parked_user *users;
	struct parked_poll *by_id;
	TAILQ_HEAD(, parked_poll) by_due;
	size_t count;
	struct buf key; /* that is looked for */
};

enum err parked_polls_new(struct parked_polls **all, struct node *n)
{
	*all = calloc(1, sizeof(**all));
	if (!*all)
		return ERR_MEMORY;
	(*all)->node = n;
	TAILQ_INIT(&(*all)->by_due);
	return OK;
}

static void free_owner_if_last(struct parked_polls *all, struct parked_user *o)
{
	if (TAILQ_EMPTY(&o->groups)) {
		HASH_DEL(all->users, o);
		free(o);
	}
}

static void free_group_if_last(struct parked_polls *all, struct parked_group *group)
{
	struct parked_user *o = group->owner;

	if (!TAILQ_EMPTY(&group->polls))
		return;
	HASH_DEL(all->groups, group);
	TAILQ_REMOVE(&o->groups, group, of_owner);
	free(group);
	free_owner_if_last(all, o);
}

/* One more between two polls, or one less: it is a connection all the same. */
static void count(struct parked_polls *all, int more)
{
	all->count += (size_t)more;
	metrics_add(&all->node->metrics, METRIC_CONNECTIONS, CLIENT_LONG_POLL, 0, more);
}

/* Takes it out of all lists; its subscriptions are the caller's, and its group is freed when it was the last. */
static struct subscription **release(struct parked_polls *all, struct parked_poll *p)
{
	struct subscription **subscriptions = p->subscriptions;

	TAILQ_REMOVE(&p->group->polls, p, same);
	free_group_if_last(all, p->group);
	HASH_DEL(all->by_id, p);
	TAILQ_REMOVE(&all->by_due, p, link);
	count(all, -1);
	/* They end, or take the places of those that the next poll asked for. */
	metrics_add(&all->node->metrics, METRIC_SUBSCRIPTIONS, 0, 0, -(int64_t)p->count);
	free(p);
	return subscriptions;
}

/* It did not come back. */
static void end(struct parked_polls *all, struct parked_poll *p)
{
	session_audit_poller_gone(p->subscriptions[0], &p->client);
	node_count_closed(all->node, CLIENT_LONG_POLL, 0, true);
	for (unsigned i = 0; i < p->count; i++) {
		presence_closed(all->node->fanout.presence, p->subscriptions[i]);
		roster_watch_leave(all->node->fanout.roster_watch, p->subscriptions[i]);
		subscription_end(p->subscriptions[i], all->node);
		subscription_unref(p->subscriptions[i]);
	}
	free(release(all, p));
}

void parked_polls_free(struct parked_polls **all)
{
	if (!*all)
		return;
	while (!TAILQ_EMPTY(&(*all)->by_due))
		end(*all, TAILQ_FIRST(&(*all)->by_due));
	buf_free(&(*all)->key);
	free(*all);
	*all = NULL;
}

static void make_key(struct buf *key, const struct session *s)
{
	const char *user_id = s->user ? s->user->id : "";

	buf_clear(key);
	buf_add(key, user_id, strlen(user_id) + 1);
	buf_add_text(key, role_text(s->role));
	buf_add_text(key, ",");
	buf_add_text(key, s->dialog.device);
	for (unsigned i = 0; i < s->subscriptions.count; i++) {
		buf_add_text(key, ",");
		buf_add_text(key, subscription_topic(s->subscriptions.items[i]));
	}
}

static struct parked_group *find_group(struct parked_polls *all, const struct session *s)
{
	struct parked_group *found = NULL;

	make_key(&all->key, s);
	if (buf_ok(&all->key))
		HASH_FIND(hh, all->groups, all->key.bytes, all->key.len, found);
	return found;
}

/* NULL: no memory. */
static struct parked_user *make_owner(struct parked_polls *all, const char *user_id)
{
	size_t len = strlen(user_id);
	struct parked_user *made;

	HASH_FIND(hh, all->users, user_id, len, made);
	if (made)
		return made;
	made = calloc(1, sizeof(*made) + len + 1);
	if (!made)
		return NULL;
	TAILQ_INIT(&made->groups);
	memcpy(made->user_id, user_id, len + 1);
	HASH_ADD_KEYPTR(hh, all->users, made->user_id, len, made);
	if (!HASH_HAS(hh, made)) {
		free(made);
		return NULL;
	}
	return made;
}

/* NULL: no memory. */
static struct parked_group *make_group(struct parked_polls *all, const struct session *s)
{
	struct parked_group *made = find_group(all, s);
	struct parked_user *o;

	if (made || !buf_ok(&all->key))
		return made;
	o = make_owner(all, all->key.bytes);
	if (!o)
		return NULL;
	made = calloc(1, sizeof(*made) + all->key.len);
	if (made) {
		TAILQ_INIT(&made->polls);
		memcpy(made->key, all->key.bytes, all->key.len);
		made->user_id = s->user ? made->key : NULL;
		made->owner = o;
		HASH_ADD_KEYPTR(hh, all->groups, made->key, all->key.len, made);
	}
	if (!made || !HASH_HAS(hh, made)) {
		free(made);
		free_owner_if_last(all, o);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&o->groups, made, of_owner);
	return made;
}

bool parked_polls_park(struct parked_polls *all, struct session *s)
{
	const struct config *c = all->node->config;
	struct parked_poll *p;

	if (c->poll_grace_s == 0)
		return false;
	while (all->count >= (size_t)c->connections_max)
		end(all, TAILQ_FIRST(&all->by_due));
	p = calloc(1, sizeof(*p));
	if (p)
		p->group = make_group(all, s);
	if (!p || !p->group) {
		free(p);
		return false;
	}
	p->id = s->id;
	p->client = s->client.address;
	HASH_ADD(hh, all->by_id, id, sizeof(p->id), p);
	if (!HASH_HAS(hh, p)) {
		free_group_if_last(all, p->group);
		free(p);
		return false;
	}
	p->subscriptions = s->subscriptions.items;
	p->count = s->subscriptions.count;
	p->due_ms = clock_monotonic_ms() + c->poll_grace_s * 1000;
	for (unsigned i = 0; i < p->count; i++) {
		hub_leave(&p->subscriptions[i]->subscriber);
		p->subscriptions[i]->session = NULL;
		p->subscriptions[i]->subscriber.reader.user_id = p->group->user_id;
	}
	TAILQ_INSERT_TAIL(&p->group->polls, p, same);
	TAILQ_INSERT_TAIL(&all->by_due, p, link);
	count(all, 1);
	s->subscriptions.items = NULL;
	s->subscriptions.count = 0;
	return true;
}

bool parked_polls_take(struct parked_polls *all, struct session *s)
{
	struct parked_group *found = find_group(all, s);
	struct subscription **kept;

	if (!found)
		return false;
	kept = release(all, TAILQ_FIRST(&found->polls));
	for (unsigned i = 0; i < s->subscriptions.count; i++) {
		struct subscription *asked = s->subscriptions.items[i], *sub = kept[i];

		sub->session = s;
		sub->subscriber.reader.user_id = s->user ? s->user->id : NULL;
		sub->wanted = asked->wanted;
		asked->wanted = NULL;
		subscription_want(sub, asked->types);
		subscription_unref(asked);
		s->subscriptions.items[i] = sub;
		subscription_step(sub, STEP_RETURNED, NULL);
	}
	free(kept);
	if (!session_rename(s, &s->subscriptions.items[0]->subscriber.reader.connection_id))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	return true;
}

void parked_polls_expire(struct parked_polls *all, int64_t now_ms)
{
	struct parked_poll *p;

	while ((p = TAILQ_FIRST(&all->by_due)) && now_ms >= p->due_ms)
		end(all, p);
}

void parked_polls_end_connection(struct parked_polls *all, const struct uuid *connection_id)
{
	struct parked_poll *p;

	HASH_FIND(hh, all->by_id, connection_id, sizeof(*connection_id), p);
	if (p)
		end(all, p);
}

static bool is_on(const struct parked_poll *p, const struct hub_topic *topic)
{
	for (unsigned i = 0; i < p->count; i++)
		if (p->subscriptions[i]->subscriber.topic == topic)
			return true;
	return false;
}

static void end_owner(struct parked_polls *all, struct parked_user *o, const struct hub_topic *topic)
{
	struct parked_group *group = TAILQ_FIRST(&o->groups), *next_group;

	for (; group; group = next_group) {
		struct parked_poll *p = TAILQ_FIRST(&group->polls), *next;

		/* The group goes with its last one, and the user with the last group. */
		next_group = TAILQ_NEXT(group, of_owner);
		for (; p; p = next) {
			next = TAILQ_NEXT(p, same);
			if (!topic || is_on(p, topic))
				end(all, p);
		}
	}
}

void parked_polls_end_user(struct parked_polls *all, const char *user_id, const struct hub_topic *topic)
{
	struct parked_user *o, *next;

	if (user_id) {
		HASH_FIND_STR(all->users, user_id, o);
		if (o)
			end_owner(all, o, topic);
		return;
	}
	HASH_ITER (hh, all->users, o, next)
		end_owner(all, o, topic);
}

void parked_polls_end_stale(struct parked_polls *all)
{
	struct parked_poll *p = TAILQ_FIRST(&all->by_due), *next;

	for (; p; p = next) {
		next = TAILQ_NEXT(p, link);
		for (unsigned i = 0; i < p->count; i++) {
			if (p->subscriptions[i]->subscriber.topic->stale) {
				end(all, p);
				break;
			}
		}
	}
}
