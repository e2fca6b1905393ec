#include "ws/pulse.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log.h"
#include "store/calls.h"
#include "ws/control.h"
#include "ws/door.h"
#include "ws/feed.h"
#include "ws/grace.h"
#include "ws/health.h"
#include "ws/identity.h"
#include "ws/ledger.h"
#include "ws/session.h"
#include "ws/user.h"

#define TICK_MS WHEEL_STEP_MS
#define HEARTBEAT_MS 4000 /* a lost notification costs no more than this */
#define AFTER_RELAY_MS 500
#define SWEEP_MS 60000
#define S_PER_DAY 86400
#define RENEW_MS 500  /* from a heartbeat to the next, where something could not be written down, or epochs differ */
#define DUE_SLICE 512 /* sessions, before the loop looks at the sockets again: a few ms */
#define RELAY_AGAIN_MS 1000 /* another node is at it */

struct pulse {
	struct node *node;
	uv_timer_t tick;
	uv_timer_t relay_timer;
	uv_idle_t due_runner; /* active while sessions are due that a slice had no time for */
	int64_t heartbeat_ms; /* when the last was sent */
	int64_t relay_ms;
	int64_t sweep_ms;
	bool heartbeat_under_way, heartbeat_again;
	bool heartbeat_decides; /* the one under way was sent because the connection of fetches has other epochs */
	bool relay_under_way, relay_again;
	bool sweep_under_way;
	bool accounts_due, accounts_under_way;
	unsigned accounts_asked; /* how many times */
	bool stale;		 /* there are topics whose clients are to be sent away */
};

static struct session *session_of(struct wheel_entry *e)
{
	return (struct session *)((char *)e - offsetof(struct session, wheel));
}

/* ---- heartbeat */

static bool has_stale_topic(const struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++) {
		const struct hub_topic *t = s->subscriptions[i]->subscriber.topic;

		if (t && t->stale)
			return true;
	}
	return false;
}

/* A failover changes every numbering at once: whoever listens is sent away over the same time as when the node goes. */
static void send_away_stale(struct pulse *p)
{
	struct node *n = p->node;
	int64_t ticks = n->config->drain_s * 1000 / TICK_MS;
	size_t at_once = ticks > 0 ? n->sessions_count / (size_t)ticks + 1 : SIZE_MAX;
	struct session *s;

	grace_end_stale(n->grace);
	TAILQ_FOREACH (s, &n->sessions, link) {
		if (s->state == SESSION_CLOSING || !has_stale_topic(s))
			continue;
		if (at_once-- == 0)
			return;
		session_close(s, CLOSE_RESTART, "reconnect");
	}
	p->stale = false;
}

static void on_moved(struct pulse *p, const struct moved_row *row)
{
	struct node *n = p->node;
	struct hub_topic *t = hub_find(n->hub, row->topic_id);

	if (!t)
		return;
	/* Its last_seq may be older than what was fetched meanwhile. (One that has gone back is a new epoch: tidings.moved.) */
	if (!row->epoch || strcmp(row->epoch, t->epoch) != 0) {
		log_warning("the numbering of a topic has changed: its clients reconnect topic=%s", t->name);
		hub_retire(n->hub, t);
		p->stale = true;
		/* What is here is of the database's epochs again. */
		p->heartbeat_decides = false;
		n->agreement = AGREED;
	} else {
		feed_ring(n->feed, t->id);
	}
}

static void heartbeat(struct pulse *p);

static void on_heartbeat(void *context, enum err e, const struct moved_row *rows, size_t count)
{
	struct pulse *p = context;
	bool unknown = false;

	p->heartbeat_under_way = false;
	if (e != OK)
		return;
	for (size_t i = 0; i < count; i++) {
		if (rows[i].topic_id == 0)
			unknown = true;
		else
			on_moved(p, &rows[i]);
	}
	if (p->heartbeat_decides)
		agreement_contradicted(&p->node->agreement);
	if (unknown) {
		ledger_renew(p->node->ledger);
		listener_renew(p->node->listener);
	}
	if (p->heartbeat_again)
		heartbeat(p);
}

static void known_topics_free(struct known_topics *known)
{
	free(known->ids);
	free(known->last_seqs);
	free(known->epochs);
}

/* False: no memory. Freed by known_topics_free() in any case. */
static bool know_topics(struct known_topics *known, const struct hub *h)
{
	size_t room = hub_topics(h) + 1;

	*known = (struct known_topics){
		.ids = calloc(room, sizeof(*known->ids)),
		.last_seqs = calloc(room, sizeof(*known->last_seqs)),
		.epochs = calloc(room, sizeof(*known->epochs)),
	};
	if (!known->ids || !known->last_seqs || !known->epochs)
		return false;
	for (const struct hub_topic *t = hub_first(h); t; t = hub_next(t)) {
		known->ids[known->count] = t->id;
		known->last_seqs[known->count] = (int64_t)tail_seq(t->tail);
		known->epochs[known->count++] = t->epoch;
	}
	return true;
}

static void heartbeat(struct pulse *p)
{
	struct node *n = p->node;
	struct known_topics topics;

	p->heartbeat_again = false;
	if (n->said_farewell || p->heartbeat_under_way || !pipeline_is_up(n->pipeline))
		return;
	/* The heartbeat then finds this node unknown: that renews. Where this fails, the next heartbeat tries again. */
	if (n->renew && calls_farewell(n->pipeline, n->id_text, NULL, NULL) != OK)
		return;
	if (know_topics(&topics, n->hub)) {
		p->heartbeat_decides = n->agreement == DIFFERING;
		p->heartbeat_ms = clock_monotonic_ms();
		p->heartbeat_under_way = calls_heartbeat(n->pipeline,
							 &(struct heartbeat){
								 .node_id = n->id_text,
								 .started_at = n->started_at,
								 .connections = (int64_t)n->sessions_count,
								 .opened = (int64_t)n->sessions_opened,
								 .topics = &topics,
							 },
							 on_heartbeat, p) == OK;
	}
	known_topics_free(&topics);
}

/* ---- the connection of fetches */

static void on_compared(void *context, enum err e, const struct moved_row *rows, size_t count)
{
	struct pulse *p = context;

	for (size_t i = 0; e == OK && i < count; i++) {
		const struct hub_topic *t = hub_find(p->node->hub, rows[i].topic_id);

		if (t && rows[i].epoch && strcmp(rows[i].epoch, t->epoch) == 0)
			feed_ring(p->node->feed, t->id);
		else if (t)
			agreement_differs(&p->node->agreement);
	}
}

/* Each goes to the server that serves now. */
static void part(struct node *n)
{
	static const char why[] = "the two connections see different epochs";

	n->agreement = AGREED;
	link_drop(pipeline_link(n->fetches), why);
	link_drop(pipeline_link(n->pipeline), why);
}

void pulse_fetches_up(struct pulse *p)
{
	struct node *n = p->node;
	struct known_topics topics;

	/* Before anything is fetched: this server may be one that has less, restored under the same epochs. */
	if (!know_topics(&topics, n->hub) ||
	    (topics.count > 0 && calls_moved(n->fetches, &topics, on_compared, p) != OK))
		link_drop(pipeline_link(n->fetches), "topics cannot be compared");
	else
		feed_go_on(n->feed);
	known_topics_free(&topics);
}

/* ---- accounts: nobody may have heard that one was switched off */

static void ask_accounts(struct pulse *p);

static void on_accounts(void *context, enum err e, const char *const *withdrawn, size_t count)
{
	struct pulse *p = context;

	p->accounts_under_way = false;
	/* The next heartbeat tries again. */
	if (e != OK) {
		p->accounts_due = true;
		return;
	}
	for (size_t i = 0; i < count; i++)
		control_reconnect_user(p->node, withdrawn[i]);
	if (p->accounts_due)
		ask_accounts(p);
}

static void ask_accounts(struct pulse *p)
{
	struct node *n = p->node;
	struct session *s;
	const char **ids;
	size_t count = 0;

	if (!n->config->require_user)
		return;
	p->accounts_due = true;
	if (p->accounts_under_way || !pipeline_is_up(n->pipeline))
		return;
	ids = calloc(n->sessions_count + 1, sizeof(*ids));
	if (!ids)
		return;
	p->accounts_due = false;
	p->accounts_asked++;
	TAILQ_FOREACH (s, &n->sessions, link) {
		if (!s->user || !identity_needs_account(s) || s->user->asked == p->accounts_asked)
			continue;
		s->user->asked = p->accounts_asked;
		ids[count++] = s->user->id;
	}
	p->accounts_under_way = count > 0 && calls_accounts(n->pipeline, ids, count, on_accounts, p) == OK;
	free(ids);
}

/* ---- the outbox */

static void on_relay_timer(uv_timer_t *timer)
{
	pulse_relay(timer->data);
}

static void on_relay(void *context, enum err e, int64_t next_ms)
{
	struct pulse *p = context;

	p->relay_under_way = false;
	if (e != OK)
		return;
	if (next_ms == 0 || p->relay_again)
		pulse_relay(p);
	else if (next_ms != INT64_MAX)
		uv_timer_start(&p->relay_timer, on_relay_timer,
			       next_ms < 0 ? RELAY_AGAIN_MS : (uint64_t)MIN(next_ms, SWEEP_MS), 0);
}

void pulse_relay(struct pulse *p)
{
	const struct config *c = p->node->config;

	p->relay_again = p->relay_under_way;
	if (p->relay_under_way)
		return;
	uv_timer_stop(&p->relay_timer);
	p->relay_under_way = calls_relay(p->node->acts, c->queue_max, c->queue_min_age_s, on_relay, p) == OK;
}

/* ---- the sweep */

static void sweep_after(struct pulse *p, int64_t id);

static void on_sweep(void *context, enum err e, int64_t last_id)
{
	struct pulse *p = context;

	p->sweep_under_way = false;
	if (e == OK && last_id >= 0)
		sweep_after(p, last_id);
}

static void sweep_after(struct pulse *p, int64_t id)
{
	const struct config *c = p->node->config;

	p->sweep_under_way = calls_sweep(p->node->acts, id, c->queue_max, c->queue_min_age_s, c->queue_ttl_s,
					 c->keep_topics_days * S_PER_DAY, on_sweep, p) == OK;
}

/* ---- the tick */

static void on_due(uv_idle_t *runner)
{
	struct pulse *p = runner->data;
	int64_t now_ms = clock_monotonic_ms();
	struct wheel_entry *e = NULL;

	for (int i = 0; i < DUE_SLICE && (e = wheel_expire(&p->node->wheel, now_ms)); i++)
		session_due(session_of(e), now_ms);
	if (e)
		uv_idle_start(runner, on_due);
	else
		uv_idle_stop(runner);
}

static void on_tick(uv_timer_t *timer)
{
	struct pulse *p = timer->data;
	struct node *n = p->node;
	int64_t now_ms = clock_monotonic_ms();

	on_due(&p->due_runner);
	door_check(n->door, now_ms);
	grace_check(n->grace, now_ms);
	if (p->stale)
		send_away_stale(p);
	if (n->agreement == PARTED)
		part(n);
	if (!pipeline_is_up(n->pipeline))
		return;
	/* The heartbeat comes after it, and so finds what the relay has moved, also where nothing is notified. */
	if (now_ms - p->relay_ms >= HEARTBEAT_MS) {
		p->relay_ms = now_ms;
		pulse_relay(p);
	}
	if ((p->heartbeat_ms < p->relay_ms && now_ms - p->relay_ms >= AFTER_RELAY_MS) ||
	    ((n->renew || n->agreement == DIFFERING) && now_ms - p->heartbeat_ms >= RENEW_MS)) {
		heartbeat(p);
		health_ask(n->health);
		if (p->accounts_due || listener_is_deaf(n->listener))
			ask_accounts(p);
	}
	if (now_ms - p->sweep_ms >= SWEEP_MS && !p->sweep_under_way) {
		p->sweep_ms = now_ms;
		sweep_after(p, -1);
	}
}

enum err pulse_new(struct pulse **p, struct node *n)
{
	*p = calloc(1, sizeof(**p));
	if (!*p)
		return ERR_MEMORY;
	(*p)->node = n;
	/* Nodes that start together don't sweep together. */
	(*p)->sweep_ms = clock_monotonic_ms() - (int64_t)(backoff_random() % SWEEP_MS);
	uv_timer_init(n->loop, &(*p)->tick);
	uv_timer_init(n->loop, &(*p)->relay_timer);
	uv_idle_init(n->loop, &(*p)->due_runner);
	(*p)->tick.data = (*p)->relay_timer.data = (*p)->due_runner.data = *p;
	uv_timer_start(&(*p)->tick, on_tick, TICK_MS, TICK_MS);
	return OK;
}

void pulse_free(struct pulse **p)
{
	free(*p);
	*p = NULL;
}

void pulse_database_up(struct pulse *p)
{
	/* A new connection may be to a server that has been restored, or has lost what was not logged: nothing is taken
	 * for granted. */
	p->node->renew = true;
	for (struct hub_topic *t = hub_first(p->node->hub); t; t = hub_next(t))
		t->revoked_seq = MIN(t->revoked_seq, tail_seq(t->tail));
	heartbeat(p);
	health_ask(p->node->health);
	ask_accounts(p);
	pulse_relay(p);
}

void pulse_database_down(struct pulse *p)
{
	ledger_lost(p->node->ledger);
}

void pulse_listening(struct pulse *p)
{
	/* One that is under way may have looked before anything was heard. */
	if (p->heartbeat_under_way)
		p->heartbeat_again = true;
	else
		heartbeat(p);
	ask_accounts(p);
	pulse_relay(p);
}

void pulse_log_counters(const struct pulse *p)
{
	const struct node *n = p->node;
	const struct hub_counters *c = hub_counters(n->hub);

	log_notice("counters deliveries=%" PRIu64 " writes=%" PRIu64 " bytes=%" PRIu64 " fetches=%" PRIu64
		   " connections=%zu opened=%" PRIu64 " topics=%zu",
		   c->deliveries, c->writes, c->bytes, feed_fetches(n->feed), n->sessions_count, n->sessions_opened,
		   hub_topics(n->hub));
}
