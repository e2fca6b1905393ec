#include "ws/roster/watched_topic.h"

#include <stdlib.h>
#include <string.h>

#include "ws/session/session.h"
#include "ws/session/session_output.h"

struct watched_topic *watched_topic_new(const struct hub_topic *topic)
{
	struct watched_topic *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->id = topic->id;
	memcpy(t->name, topic->name, sizeof(t->name));
	TAILQ_INIT(&t->watchers);
	return t;
}

void watched_topic_free(struct watched_topic **t)
{
	if (!*t)
		return;
	free((*t)->roster);
	buf_free(&(*t)->changes);
	buf_free(&(*t)->whole);
	free(*t);
	*t = NULL;
}

bool watched_topic_add(struct watched_topic *t, struct subscription *sub)
{
	struct watcher *r = calloc(1, sizeof(*r));

	if (!r)
		return false;
	r->topic = t;
	r->sub = sub;
	r->joined = t->joined = t->begun;
	TAILQ_INSERT_TAIL(&t->watchers, r, link);
	sub->watcher = r;
	return true;
}

void watched_topic_remove(struct watched_topic *t, struct watcher *r)
{
	TAILQ_REMOVE(&t->watchers, r, link);
	r->sub->watcher = NULL;
	free(r);
}

bool watched_topic_is_large(const struct watched_topic *t)
{
	return t->roster && !roster_is_whole(t->roster);
}

static enum err keep_missing(const struct watched_topic *t, struct roster **r)
{
	if (roster_is_whole(t->roster) && roster_is_whole(*r))
		return roster_keep(r, t->roster);
	return (*r)->users < t->roster->users ? ERR_BUSY : OK;
}

enum err watched_topic_take(struct watched_topic *t, struct roster **r, bool settled, bool *news)
{
	struct buf changes = BUF_EMPTY;
	struct roster *before = t->roster;
	bool whole = !before;
	size_t count = 0;
	enum err e = *r ? OK : ERR_MEMORY;

	if (e == OK && before && !settled)
		e = keep_missing(t, r);
	if (e != OK)
		return e;
	if (before)
		count = roster_add_changes(&changes, before, *r, t->name, clock_wall_us(), &whole);
	if (!buf_ok(&changes)) {
		buf_free(&changes);
		return ERR_MEMORY;
	}
	t->roster = *r;
	*r = NULL;
	free(before);
	buf_free(&t->whole);
	*news = count > 0 || whole;
	if (!*news)
		return OK;
	buf_free(&t->changes);
	t->changes = changes;
	t->changes_count = (unsigned)count;
	t->version++;
	return OK;
}

static bool is_too_new(const struct watched_topic *t, const struct watcher *r)
{
	return r->told == 0 && t->as_of <= r->joined && !watched_topic_is_large(t);
}

static bool takes_bytes(const struct watcher *r)
{
	const struct session *s = r->sub->session;

	return s && r->sub->state == SUBSCRIPTION_LIVE && s->state == SESSION_OPEN && session_is_clear(s);
}

static const struct buf *whole_of(struct watched_topic *t)
{
	if (t->whole.len == 0)
		roster_add_whole(&t->whole, t->roster, t->name, clock_wall_us());
	return &t->whole;
}

void watched_topic_tell(struct watched_topic *t, struct watcher *r)
{
	bool changes = r->told != 0 && r->told + 1 == t->version && t->changes.len > 0;
	struct delivery d = {.count = changes ? t->changes_count : 1, .age_ms = -1};
	const struct buf *frames;

	if (r->told == t->version || is_too_new(t, r) || !takes_bytes(r))
		return;
	frames = changes ? &t->changes : whole_of(t);
	if (!buf_ok(frames)) {
		buf_free(&t->whole);
		session_close(r->sub->session, CLOSE_TRY_LATER, "try again later");
		return;
	}
	r->told = t->version;
	if (!changes)
		r->whole_ms = clock_monotonic_ms();
	d.bytes = (struct span){frames->bytes, frames->len};
	/* What is not taken now waits in the outlet, and the hub leaves the session alone meanwhile. */
	(void)session_deliver(r->sub->session->node, &r->sub->subscriber, &d);
}
