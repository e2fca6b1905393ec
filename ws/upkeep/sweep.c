#include "ws/upkeep/sweep.h"

#include <stdlib.h>

#include "base/backoff.h"
#include "store/sidecar/sql_upkeep.h"
#include "ws/node.h"

#define SWEEP_MS 60000
#define S_PER_DAY 86400

struct sweep {
	struct node *node;
	int64_t begun_ms;
	bool under_way;
};

enum err sweep_new(struct sweep **s, struct node *n)
{
	*s = calloc(1, sizeof(**s));
	if (!*s)
		return ERR_MEMORY;
	(*s)->node = n;
	/* Nodes that start together don't sweep together. */
	(*s)->begun_ms = clock_monotonic_ms() - (int64_t)(backoff_random() % SWEEP_MS);
	return OK;
}

void sweep_free(struct sweep **s)
{
	free(*s);
	*s = NULL;
}

static void sweep_after(struct sweep *s, int64_t id);

static void on_sweep(void *context, enum err e, int64_t last_id)
{
	struct sweep *s = context;

	s->under_way = false;
	if (e == OK && last_id >= 0)
		sweep_after(s, last_id);
}

static void sweep_after(struct sweep *s, int64_t id)
{
	const struct config *c = s->node->config;

	s->under_way = sql_sweep(s->node->db.acts, id, c->queue_max, c->queue_min_age_s, c->queue_ttl_s,
				 c->keep_topics_days * S_PER_DAY, on_sweep, s) == OK;
}

void sweep_check(struct sweep *s, int64_t now_ms)
{
	if (now_ms - s->begun_ms < SWEEP_MS || s->under_way)
		return;
	s->begun_ms = now_ms;
	sweep_after(s, -1);
}
