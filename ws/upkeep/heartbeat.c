#include "ws/upkeep/heartbeat.h"

#include <stdlib.h>
#include <string.h>

#include "base/log/log.h"
#include "store/sidecar/sql_node.h"
#include "ws/deliver/fetcher.h"
#include "ws/deliver/presence.h"
#include "ws/node.h"
#include "ws/roster/roster_watch.h"
#include "ws/session/session.h"
#include "ws/subscribe/parked_polls.h"

#define AFTER_RELAY_MS 500
#define RENEW_MS 500 /* from a heartbeat to the next, where something could not be written down, or epochs differ */

struct heartbeat_sender {
	struct node *node;
	int64_t sent_ms;						     /* the last */
	enum { HEARTBEAT_NONE, HEARTBEAT_UNDER_WAY, HEARTBEAT_AGAIN } state; /* AGAIN: under way, and then anew */
	bool decides; /* the one under way was sent because the connection of fetches has other epochs */
	bool stale;   /* there are topics whose clients are to be sent away */
	bool known;   /* the database has known this node */
};

enum err heartbeat_new(struct heartbeat_sender **h, struct node *n)
{
	*h = calloc(1, sizeof(**h));
	if (!*h)
		return ERR_MEMORY;
	(*h)->node = n;
	return OK;
}

void heartbeat_free(struct heartbeat_sender **h)
{
	free(*h);
	*h = NULL;
}

/* ---- topics that are numbered anew */

static bool has_stale_topic(const struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++) {
		const struct hub_topic *t = s->subscriptions.items[i]->subscriber.topic;

		if (t && t->stale)
			return true;
	}
	return false;
}

/* A failover changes every numbering at once: whoever listens is sent away over the same time as when the node goes. */
static void send_away_stale(struct heartbeat_sender *h)
{
	struct node *n = h->node;
	int64_t ticks = n->config->drain_s * 1000 / WHEEL_STEP_MS;
	size_t at_once = ticks > 0 ? n->sessions.count / (size_t)ticks + 1 : SIZE_MAX;
	struct session *s;

	parked_polls_end_stale(n->parked_polls);
	TAILQ_FOREACH (s, &n->sessions.all, link) {
		if (s->state == SESSION_CLOSING || !has_stale_topic(s))
			continue;
		if (at_once-- == 0)
			return;
		session_close(s, CLOSE_RESTART, "reconnect");
	}
	h->stale = false;
}

/* ---- heartbeat */

static void on_moved(struct heartbeat_sender *h, const struct moved_row *row)
{
	struct node *n = h->node;
	struct hub_topic *t = hub_find(n->fanout.hub, row->topic_id);

	if (!t)
		return;
	/* Its last_seq may be older than what was fetched meanwhile. (One that has gone back is a new epoch: tidings.moved.) */
	if (!row->epoch || strcmp(row->epoch, t->epoch) != 0) {
		log_warning("the numbering of a topic has changed: its clients reconnect topic=%s", t->name);
		hub_retire(n->fanout.hub, t);
		h->stale = true;
		/* What is here is of the database's epochs again. */
		h->decides = false;
		n->db.agreement = AGREED;
	} else {
		fetcher_ring(n->fanout.fetcher, t->id);
	}
}

static void on_heartbeat(void *context, enum err e, const struct moved_row *rows, size_t count)
{
	struct heartbeat_sender *h = context;
	bool unknown = false, again = h->state == HEARTBEAT_AGAIN;

	h->state = HEARTBEAT_NONE;
	if (e != OK)
		return;
	for (size_t i = 0; i < count; i++) {
		if (rows[i].topic_id == 0)
			unknown = true;
		else
			on_moved(h, &rows[i]);
	}
	if (h->decides)
		agreement_contradicted(&h->node->db.agreement);
	if (unknown) {
		presence_renew(h->node->fanout.presence);
		doorbell_renew(h->node->db.listener);
		if (h->known)
			roster_watch_doubt(h->node->fanout.roster_watch);
	}
	h->known = true;
	if (again)
		heartbeat_send(h);
}

static void known_topics_free(struct known_topics *known)
{
	free(known->ids);
	free(known->last_seqs);
	free(known->epochs);
}

/* False: no memory. Freed by known_topics_free() in any case. */
static bool know_topics(struct known_topics *known, const struct hub *hub)
{
	size_t room = hub_topics(hub) + 1;

	*known = (struct known_topics){
		.ids = calloc(room, sizeof(*known->ids)),
		.last_seqs = calloc(room, sizeof(*known->last_seqs)),
		.epochs = calloc(room, sizeof(*known->epochs)),
	};
	if (!known->ids || !known->last_seqs || !known->epochs)
		return false;
	for (const struct hub_topic *t = hub_first(hub); t; t = hub_next(t)) {
		known->ids[known->count] = t->id;
		known->last_seqs[known->count] = (int64_t)tail_seq(t->tail);
		known->epochs[known->count++] = t->epoch;
	}
	return true;
}

void heartbeat_send(struct heartbeat_sender *h)
{
	struct node *n = h->node;
	struct known_topics topics;

	if (n->phase == NODE_GONE || h->state != HEARTBEAT_NONE || !pipeline_is_up(n->db.queries))
		return;
	/* The heartbeat then finds this node unknown: that renews. Where this fails, the next heartbeat tries again. */
	if (presence_is_doubted(n->fanout.presence) && sql_farewell(n->db.queries, n->id_text, NULL, NULL) != OK)
		return;
	if (know_topics(&topics, n->fanout.hub)) {
		h->decides = n->db.agreement == DIFFERING;
		h->sent_ms = clock_monotonic_ms();
		if (sql_heartbeat(
			    n->db.queries,
			    &(struct heartbeat){
				    .node_id = n->id_text,
				    .started_at = n->started_at,
				    .connections = (int64_t)n->sessions.count,
				    .opened = (int64_t)n->sessions.opened,
				    .topics = &topics,
				    .draining = n->phase >= NODE_DRAINING,
				    .presence_grace_ms = n->config->presence ? n->config->presence_grace_s * 1000 : -1,
			    },
			    on_heartbeat, h) == OK)
			h->state = HEARTBEAT_UNDER_WAY;
	}
	known_topics_free(&topics);
}

/* ---- the connection of fetches */

static void on_compared(void *context, enum err e, const struct moved_row *rows, size_t count)
{
	struct heartbeat_sender *h = context;

	for (size_t i = 0; e == OK && i < count; i++) {
		const struct hub_topic *t = hub_find(h->node->fanout.hub, rows[i].topic_id);

		if (t && rows[i].epoch && strcmp(rows[i].epoch, t->epoch) == 0)
			fetcher_ring(h->node->fanout.fetcher, t->id);
		else if (t)
			agreement_differs(&h->node->db.agreement);
	}
}

/* Each goes to the server that serves now. */
static void part(struct node *n)
{
	static const char why[] = "the two connections see different epochs";

	n->db.agreement = AGREED;
	pg_connection_drop(pipeline_connection(n->db.fetches), why);
	pg_connection_drop(pipeline_connection(n->db.queries), why);
}

void heartbeat_compare_fetches(struct heartbeat_sender *h)
{
	struct node *n = h->node;
	struct known_topics topics;

	/* Before anything is fetched: this server may be one that has less, restored under the same epochs. */
	if (!know_topics(&topics, n->fanout.hub) ||
	    (topics.count > 0 && sql_moved(n->db.fetches, &topics, on_compared, h) != OK))
		pg_connection_drop(pipeline_connection(n->db.fetches), "topics cannot be compared");
	else
		fetcher_go_on(n->fanout.fetcher);
	known_topics_free(&topics);
}

void heartbeat_send_anew(struct heartbeat_sender *h)
{
	if (h->state != HEARTBEAT_NONE)
		h->state = HEARTBEAT_AGAIN;
	else
		heartbeat_send(h);
}

bool heartbeat_is_due(const struct heartbeat_sender *h, int64_t cycle_ms, int64_t now_ms)
{
	const struct node *n = h->node;

	if (h->sent_ms < cycle_ms && now_ms - cycle_ms >= AFTER_RELAY_MS)
		return true;
	return (presence_is_doubted(n->fanout.presence) || n->db.agreement == DIFFERING) &&
	       now_ms - h->sent_ms >= RENEW_MS;
}

void heartbeat_check_epochs(struct heartbeat_sender *h)
{
	if (h->stale)
		send_away_stale(h);
	if (h->node->db.agreement == PARTED)
		part(h->node);
}
