#include "ws/identity/strangers.h"

#include "ws/identity/session_index.h"
#include "ws/metrics/node_metrics.h"
#include "ws/session/session.h"

#define SHARE 8 /* of the connections a node may have: one in so many */

static void send_oldest_away(struct node *n)
{
	struct session *oldest = TAILQ_FIRST(&n->sessions.strangers);

	session_log(oldest, LOG_INFO_, "closing a client that has not said who it is, for another");
	node_count_refused(n, REFUSED_FULL);
	session_close(oldest, CLOSE_TRY_LATER, "full: try again later");
}

void strangers_add(struct session *s)
{
	struct node *n = s->node;

	session_await(s);
	while (n->sessions.strangers_count > (size_t)MAX(n->config->connections_max / SHARE, 1))
		send_oldest_away(n);
}

void strangers_make_room(struct node *n)
{
	while (session_index_is_over(n) && n->sessions.strangers_count > 0)
		send_oldest_away(n);
}
