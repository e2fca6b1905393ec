#include "ws/roster/roster_watch.h"

#include <stdlib.h>

#include "store/roster/sql_rosters.h"
#include "ws/roster/watched_topic.h"
#include "ws/session/session.h"

#define TOPICS_MAX 64  /* in one call */
#define PAUSE_MS 100   /* between two reads of a topic: what comes meanwhile is told together */
#define LARGE_MS 5000  /* the same, of more than ROSTER_MAX users */
#define SECOND_MS 1000 /* after the first read: who came as it was made may not have rung */
#define LOST_MS 60000  /* in case a ring gets lost */
#define DEAF_MS 4000   /* the same, where none is heard: behind a pooler */
#define AGAIN_MS 1000  /* after a call that failed */
#define NODE_DEAD_MS 15000
#define POLL_WHOLE_MS \
	20000 /* a poll's reply may get lost, and another of its user's take its place: it is told all of it again */
#define SLICE_WRITES 256

struct roster_watch {
	struct node *node;
	struct watched_topic *topics;
	TAILQ_HEAD(, watched_topic) busy;
	uv_idle_t runner;	   /* active while somebody is to be told */
	uv_timer_t timer;	   /* to the first topic that is due */
	struct buf unwatched;	   /* int64_t: topics that the database is to be told of */
	int64_t settled_ms;	   /* until then nobody is taken to be gone */
	int64_t asked[TOPICS_MAX]; /* while under_way: whose rosters are asked for */
	size_t asked_count;
	bool under_way;
};

static void ask(struct roster_watch *w);

static void on_timer(uv_timer_t *timer)
{
	ask(timer->data);
}

enum err roster_watch_new(struct roster_watch **w, struct node *n)
{
	*w = calloc(1, sizeof(**w));
	if (!*w)
		return ERR_MEMORY;
	(*w)->node = n;
	TAILQ_INIT(&(*w)->busy);
	uv_idle_init(n->loop, &(*w)->runner);
	uv_timer_init(n->loop, &(*w)->timer);
	(*w)->runner.data = (*w)->timer.data = *w;
	return OK;
}

void roster_watch_free(struct roster_watch **w)
{
	if (!*w)
		return;
	buf_free(&(*w)->unwatched);
	free(*w);
	*w = NULL;
}

static struct watched_topic *find(const struct roster_watch *w, int64_t id)
{
	struct watched_topic *t;

	HASH_FIND(hh, w->topics, &id, sizeof(id), t);
	return t;
}

/* ---- telling */

static void set_next(struct roster_watch *w, struct watched_topic *t, struct watcher *next)
{
	if (next && !t->next)
		TAILQ_INSERT_TAIL(&w->busy, t, busy);
	else if (!next && t->next)
		TAILQ_REMOVE(&w->busy, t, busy);
	t->next = next;
}

/* From the loop alone: this ends sessions. */
static void on_run(uv_idle_t *runner)
{
	struct roster_watch *w = runner->data;
	struct watched_topic *t;

	for (unsigned i = 0; i < SLICE_WRITES && (t = TAILQ_FIRST(&w->busy)); i++) {
		struct watcher *r = t->next;

		set_next(w, t, TAILQ_NEXT(r, link));
		watched_topic_tell(t, r);
	}
	/* The next slice is another topic's. */
	if ((t = TAILQ_FIRST(&w->busy))) {
		TAILQ_REMOVE(&w->busy, t, busy);
		TAILQ_INSERT_TAIL(&w->busy, t, busy);
	}
	client_sockets_run(&w->node->sockets);
	if (TAILQ_EMPTY(&w->busy))
		uv_idle_stop(&w->runner);
}

/* ---- reading */

/* The first topic that is due. */
static void set_timer(struct roster_watch *w)
{
	int64_t now_ms = clock_monotonic_ms();
	int64_t due_ms = w->unwatched.len > 0 ? now_ms + AGAIN_MS : INT64_MAX;

	if (w->under_way)
		return;
	for (const struct watched_topic *t = w->topics; t; t = t->hh.next)
		due_ms = MIN(due_ms, t->due_ms);
	if (due_ms == INT64_MAX)
		uv_timer_stop(&w->timer);
	else
		uv_timer_start(&w->timer, on_timer, due_ms > now_ms ? (uint64_t)(due_ms - now_ms) : 0, 0);
}

static void ring(struct watched_topic *t, int64_t now_ms)
{
	t->due_ms = MIN(t->due_ms, MAX(now_ms, t->read_ms + (watched_topic_is_large(t) ? LARGE_MS : PAUSE_MS)));
}

void roster_watch_rung(struct roster_watch *w, const char *ids)
{
	int64_t now_ms = clock_monotonic_ms();

	while (*ids) {
		char *end;
		struct watched_topic *t = find(w, strtoll(ids, &end, 10));

		if (end == ids)
			return;
		if (t)
			ring(t, now_ms);
		ids = *end ? end + 1 : end;
	}
	set_timer(w);
}

void roster_watch_ring_all(struct roster_watch *w)
{
	int64_t now_ms = clock_monotonic_ms();

	for (struct watched_topic *t = w->topics; t; t = t->hh.next)
		ring(t, now_ms);
	set_timer(w);
}

void roster_watch_doubt(struct roster_watch *w)
{
	w->settled_ms = clock_monotonic_ms() + NODE_DEAD_MS + w->node->config->presence_grace_s * 1000;
	roster_watch_ring_all(w);
}

static void ask_again(struct roster_watch *w)
{
	int64_t again_ms = clock_monotonic_ms() + AGAIN_MS;

	for (size_t i = 0; i < w->asked_count; i++) {
		struct watched_topic *t = find(w, w->asked[i]);

		if (t)
			t->due_ms = MIN(t->due_ms, again_ms);
	}
}

/* Milliseconds until it is to be read again, unless it rings. */
static int64_t take(struct roster_watch *w, struct watched_topic *t, struct topic_roster *r)
{
	int64_t lost_ms = doorbell_is_deaf(w->node->db.listener) ? DEAF_MS : LOST_MS;
	int64_t unsettled_ms = w->settled_ms - clock_monotonic_ms();
	int64_t wait_ms = t->roster ? lost_ms : SECOND_MS;
	bool news = false, newcomers = t->joined >= t->as_of;

	if (watched_topic_take(t, &r->roster, unsettled_ms <= 0, &news) == ERR_MEMORY)
		return AGAIN_MS;
	t->as_of = t->begun;
	if (news || newcomers) {
		set_next(w, t, TAILQ_FIRST(&t->watchers));
		uv_idle_start(&w->runner, on_run);
	}
	if (r->leaves_in_ms >= 0)
		wait_ms = MIN(wait_ms, r->leaves_in_ms + 1);
	if (unsettled_ms > 0)
		wait_ms = MIN(wait_ms, unsettled_ms);
	return watched_topic_is_large(t) ? MAX(wait_ms, LARGE_MS) : wait_ms;
}

static void on_rosters(void *context, enum err e, struct topic_roster *rosters, size_t count)
{
	struct roster_watch *w = context;

	w->under_way = false;
	if (e != OK)
		ask_again(w);
	for (size_t i = 0; i < count; i++) {
		struct watched_topic *t = find(w, rosters[i].topic_id);

		/* What rang since it was asked for is due by that. */
		if (t)
			t->due_ms = MIN(t->due_ms, clock_monotonic_ms() + take(w, t, &rosters[i]));
	}
	set_timer(w);
}

/* Those that are due; when they will be again, unless an answer comes. */
static void take_due(struct roster_watch *w)
{
	int64_t now_ms = clock_monotonic_ms();

	w->asked_count = 0;
	for (struct watched_topic *t = w->topics; t && w->asked_count < TOPICS_MAX; t = t->hh.next) {
		if (t->due_ms > now_ms)
			continue;
		t->read_ms = now_ms;
		t->begun++;
		t->due_ms = now_ms + LOST_MS;
		w->asked[w->asked_count++] = t->id;
	}
}

static void ask(struct roster_watch *w)
{
	struct rosters_question q = {
		.node_id = w->node->id_text,
		.topics = w->asked,
		.unwatched = (const int64_t *)(const void *)w->unwatched.bytes,
		.unwatched_count = w->unwatched.len / sizeof(int64_t),
		.grace_ms = w->node->config->presence_grace_s * 1000,
	};

	if (w->under_way)
		return;
	take_due(w);
	q.topics_count = w->asked_count;
	if (q.topics_count > 0 || q.unwatched_count > 0) {
		w->under_way = sql_rosters(w->node->db.queries, &q, on_rosters, w) == OK;
		/* Where the answer does not come the node is written down anew, which forgets them too. */
		if (w->under_way)
			buf_clear(&w->unwatched);
		else
			ask_again(w);
	}
	set_timer(w);
}

/* ---- watchers */

/* NULL: no memory. */
static struct watched_topic *hold_topic(struct roster_watch *w, const struct hub_topic *topic)
{
	struct watched_topic *t = find(w, topic->id);

	if (t)
		return t;
	t = watched_topic_new(topic);
	if (!t)
		return NULL;
	HASH_ADD(hh, w->topics, id, sizeof(t->id), t);
	if (!HASH_HAS(hh, t))
		watched_topic_free(&t);
	return t;
}

static void free_unless_watched(struct roster_watch *w, struct watched_topic *t)
{
	if (!TAILQ_EMPTY(&t->watchers))
		return;
	buf_add(&w->unwatched, &t->id, sizeof(t->id));
	/* Those go on being rung for, until the node is gone. */
	if (!buf_ok(&w->unwatched))
		buf_free(&w->unwatched);
	HASH_DELETE(hh, w->topics, t);
	watched_topic_free(&t);
}

void roster_watch_leave(struct roster_watch *w, struct subscription *sub)
{
	struct watcher *r = sub->watcher;
	struct watched_topic *t;

	if (!r)
		return;
	t = r->topic;
	if (t->next == r)
		set_next(w, t, TAILQ_NEXT(r, link));
	watched_topic_remove(t, r);
	free_unless_watched(w, t);
	set_timer(w);
}

/* Behind all who are to be told already. */
void roster_watch_ready(struct roster_watch *w, struct subscription *sub)
{
	struct watcher *r = sub->watcher;
	struct watched_topic *t;

	if (!r || r->told == r->topic->version || r->topic->next == r)
		return;
	t = r->topic;
	TAILQ_REMOVE(&t->watchers, r, link);
	TAILQ_INSERT_TAIL(&t->watchers, r, link);
	if (!t->next)
		set_next(w, t, r);
	uv_idle_start(&w->runner, on_run);
}

static bool watch(struct roster_watch *w, struct subscription *sub)
{
	struct watched_topic *t = hold_topic(w, sub->subscriber.topic);
	bool added = t && watched_topic_add(t, sub);

	if (added)
		ring(t, clock_monotonic_ms());
	else if (t)
		free_unless_watched(w, t);
	set_timer(w);
	return added;
}

void roster_watch_join(struct roster_watch *w, struct subscription *sub)
{
	if (!sub->presence) {
		roster_watch_leave(w, sub);
		return;
	}
	if (!sub->watcher && !watch(w, sub)) {
		session_close(sub->session, CLOSE_TRY_LATER, "try again later");
		return;
	}
	if (sub->session->kind->transport == CLIENT_LONG_POLL &&
	    clock_monotonic_ms() - sub->watcher->whole_ms > POLL_WHOLE_MS)
		sub->watcher->told = 0;
	roster_watch_ready(w, sub);
}
