#include "ws/deliver/redelivery.h"

#include <stdlib.h>
#include <string.h>

#include "store/sidecar/sql_live.h"
#include "store/wire/act.h"
#include "ws/identity/identity.h"
#include "ws/identity/user_sessions.h"
#include "ws/session/session.h"

/* A user whose notifications go again. */
struct returning {
	struct node *node;
	char user_id[];
};

/* As if they had sent them themselves: who comes back again and again has all of them written again and again. */
static void on_redelivered(void *context, enum err e, int64_t count)
{
	struct returning *r = context;

	if (e == OK && count > 0)
		identity_charge_more(r->node, r->user_id, act_cost(1 + count));
	free(r);
}

void redelivery_ask(const struct subscription *sub)
{
	static const char prefix[] = "notifications/";
	const char *topic = subscription_topic(sub);
	struct session *s = sub->session;
	struct returning *r;
	size_t size;

	if (s->redelivered || !s->user || strncmp(topic, prefix, strlen(prefix)) != 0 ||
	    strcmp(topic + strlen(prefix), s->user->id) != 0)
		return;
	s->redelivered = true;
	size = strlen(s->user->id) + 1;
	r = calloc(1, sizeof(*r) + size);
	if (r) {
		r->node = s->node;
		memcpy(r->user_id, s->user->id, size);
	}
	if (!r || sql_redeliver(s->node->db.queries, s->user->id, on_redelivered, r) != OK) {
		session_log(s, LOG_INFO_,
			    "critical notifications wait for their next turn: no memory, or the database is away");
		free(r);
	}
}
