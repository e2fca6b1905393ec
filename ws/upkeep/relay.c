#include "ws/upkeep/relay.h"

#include <stdlib.h>

#include "store/sidecar/sql_upkeep.h"
#include "ws/node.h"

#define RELAY_AGAIN_MS 1000 /* another node is at it */
#define TIMER_MAX_MS 60000  /* one that is due later is looked at again meanwhile */

struct relay {
	struct node *node;
	uv_timer_t timer; /* until the next row is due */
	bool under_way;
	bool again; /* relay_run() was called meanwhile */
};

enum err relay_new(struct relay **r, struct node *n)
{
	*r = calloc(1, sizeof(**r));
	if (!*r)
		return ERR_MEMORY;
	(*r)->node = n;
	uv_timer_init(n->loop, &(*r)->timer);
	(*r)->timer.data = *r;
	return OK;
}

void relay_free(struct relay **r)
{
	free(*r);
	*r = NULL;
}

static void on_timer(uv_timer_t *timer)
{
	relay_run(timer->data);
}

static void on_relay(void *context, enum err e, int64_t next_ms)
{
	struct relay *r = context;

	r->under_way = false;
	if (e != OK)
		return;
	if (next_ms == 0 || r->again)
		relay_run(r);
	else if (next_ms != INT64_MAX)
		uv_timer_start(&r->timer, on_timer, next_ms < 0 ? RELAY_AGAIN_MS : (uint64_t)MIN(next_ms, TIMER_MAX_MS),
			       0);
}

void relay_run(struct relay *r)
{
	const struct config *c = r->node->config;

	r->again = r->under_way;
	if (r->under_way)
		return;
	uv_timer_stop(&r->timer);
	r->under_way = sql_relay(r->node->db.acts, c->queue_max, c->queue_min_age_s, on_relay, r) == OK;
}
