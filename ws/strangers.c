#include "ws/strangers.h"

#include "base/log/log.h"
#include "ws/session.h"
#include "ws/sessions.h"

#define SHARE 8 /* of the connections a node may have: one in so many */

static void send_oldest_away(struct node *n)
{
	log_info("closing a client that has not said who it is, for another");
	session_close(TAILQ_FIRST(&n->strangers), CLOSE_TRY_LATER, "full: try again later");
}

void strangers_add(struct session *s)
{
	struct node *n = s->node;

	session_await(s);
	while (n->strangers_count > (size_t)MAX(n->config->connections_max / SHARE, 1))
		send_oldest_away(n);
}

void strangers_make_room(struct node *n)
{
	while (sessions_are_too_many(n) && n->strangers_count > 0)
		send_oldest_away(n);
}
