#include "ws/upkeep/orders.h"

#include <stdlib.h>
#include <string.h>

#include "store/sidecar/sql_node.h"
#include "ws/identity/session_index.h"
#include "ws/metrics/node_metrics.h"
#include "ws/roster/roster_watch.h"
#include "ws/session/session.h"
#include "ws/subscribe/parked_polls.h"
#include "ws/subscribe/revocation.h"

static void disconnect(struct node *n, const struct uuid *id)
{
	struct session *s = session_index_find(n, id);

	parked_polls_end_connection(n->parked_polls, id);
	if (!s)
		return;
	s->end.forgets_place = true;
	session_close(s, CLOSE_NORMAL, "disconnected by administrator");
}

static void announce_end(struct node *n, const char *numbers, bool everybody)
{
	char *end;
	int64_t topic_id = strtoll(numbers, &end, 10);
	uint64_t seq = strtoull(end, &end, 10);
	struct hub_topic *t = hub_find(n->fanout.hub, topic_id);

	if (*end == (everybody ? '\0' : ' ') && seq > 0 && t)
		revocation_announce(n, t, everybody ? NULL : end + 1, seq);
}

/* ---- reports */

#define REPORTS_MAX 100

/* What is told of connections, all at once. */
struct reporting {
	struct node *node;
	size_t count;
	char id[REPORTS_MAX][UUID_TEXT_SIZE], heard[REPORTS_MAX][CLOCK_TEXT_SIZE];
	const char *ids[REPORTS_MAX], *last_activities[REPORTS_MAX], *states[REPORTS_MAX];
	int64_t lags[REPORTS_MAX], waiting_bytes[REPORTS_MAX];
};

/* Messages of its topics that it has not been given. */
static int64_t lag_of(const struct session *s)
{
	uint64_t lag = 0;

	for (unsigned i = 0; i < s->subscriptions.count; i++) {
		const struct subscription *sub = s->subscriptions.items[i];
		const struct hub_topic *t = sub->subscriber.topic;
		uint64_t newest = t ? MAX(tail_seq(t->tail), sub->at.known_seq) : 0;

		if (newest > sub->subscriber.seq)
			lag += newest - sub->subscriber.seq;
	}
	return (int64_t)lag;
}

static void add_report(struct reporting *r, const struct session *s)
{
	static const char *const states[] = {[SESSION_NEW] = "connected",
					     [SESSION_STRANGER] = "connected",
					     [SESSION_OPEN] = "authenticated",
					     [SESSION_CLOSING] = "disconnected"};
	size_t i = r->count++;

	r->ids[i] = uuid_text(r->id[i], &s->id);
	r->last_activities[i] =
		clock_text(r->heard[i], clock_wall_us() - (clock_monotonic_ms() - s->times.heard_ms) * 1000);
	r->states[i] = states[s->state];
	r->lags[i] = lag_of(s);
	r->waiting_bytes[i] = (int64_t)session_held_bytes(s);
}

static void send_reports(struct reporting *r)
{
	struct node *n = r->node;
	struct connection_reports reports = {
		.ids = r->ids,
		.last_activities = r->last_activities,
		.states = r->states,
		.lags = r->lags,
		.waiting_bytes = r->waiting_bytes,
		.count = r->count,
	};

	if (sql_report(n->db.queries, n->id_text, &reports) != OK)
		log_info("connections could not be reported: the database is away");
}

/*	ids	one after the other, a space between */
static void report(struct node *n, const char *ids)
{
	struct reporting r = {.node = n};
	struct uuid id;

	for (const char *next = ids; *next && r.count < REPORTS_MAX;) {
		size_t len = strcspn(next, " ");
		const struct session *s = uuid_parse(&id, next, len) ? session_index_find(n, &id) : NULL;

		if (s)
			add_report(&r, s);
		next += len + (next[len] == ' ');
	}
	send_reports(&r);
}

static void report_slow(struct node *n)
{
	struct reporting r = {.node = n};
	const struct session *s;

	TAILQ_FOREACH (s, &n->sessions.all, link) {
		if (r.count == REPORTS_MAX)
			break;
		if (lag_of(s) > 0 || session_held_bytes(s) > 0)
			add_report(&r, s);
	}
	send_reports(&r);
}

/* ---- all of them */

void orders_carry_out(void *node, const char *order)
{
	struct node *n = node;
	const char *what = strchr(order, ' ');
	struct uuid id;
	bool is_id;

	node_count(n, METRIC_NOTIFICATIONS);
	if (strcmp(order, "report_slow") == 0)
		report_slow(n);
	if (!what)
		return;
	what++;
	is_id = uuid_parse(&id, what, strlen(what));
	if (strncmp(order, "disconnect ", strlen("disconnect ")) == 0 && is_id)
		disconnect(n, &id);
	else if (strncmp(order, "reconnect ", strlen("reconnect ")) == 0)
		revocation_reconnect(n, what);
	else if (strncmp(order, "forget ", strlen("forget ")) == 0)
		revocation_forget(n, what);
	else if (strncmp(order, "revoke ", strlen("revoke ")) == 0)
		announce_end(n, what, false);
	else if (strncmp(order, "revoke_all ", strlen("revoke_all ")) == 0)
		announce_end(n, what, true);
	else if (strncmp(order, "rosters ", strlen("rosters ")) == 0)
		roster_watch_rung(n->fanout.roster_watch, what);
	else if (strncmp(order, "report ", strlen("report ")) == 0)
		report(n, what);
	else if (strncmp(order, "drain ", strlen("drain ")) == 0 && strcmp(what, n->id_text) == 0)
		uv_async_send(&n->upkeep.drain_asked);
}
