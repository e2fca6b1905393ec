#include "ws/upkeep/orders.h"

#include <stdlib.h>
#include <string.h>

#include "store/sidecar/sql_node.h"
#include "ws/identity/session_index.h"
#include "ws/metrics/node_metrics.h"
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

static void report(struct node *n, const struct uuid *id)
{
	static const char *const states[] = {[SESSION_NEW] = "connected",
					     [SESSION_STRANGER] = "connected",
					     [SESSION_OPEN] = "authenticated",
					     [SESSION_CLOSING] = "disconnected"};
	struct session *s = session_index_find(n, id);
	char id_text[UUID_TEXT_SIZE], heard[CLOCK_TEXT_SIZE];

	if (!s)
		return;
	clock_text(heard, clock_wall_us() - (clock_monotonic_ms() - s->times.heard_ms) * 1000);
	if (sql_report(n->db.queries, n->id_text, uuid_text(id_text, id), heard, states[s->state]) != OK)
		session_log(s, LOG_INFO_, "a connection could not be reported: the database is away");
}

void orders_carry_out(void *node, const char *order)
{
	struct node *n = node;
	const char *what = strchr(order, ' ');
	struct uuid id;
	bool is_id;

	node_count(n, METRIC_NOTIFICATIONS);
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
	else if (strncmp(order, "report ", strlen("report ")) == 0 && is_id)
		report(n, &id);
}
