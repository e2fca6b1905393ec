#include "ws/upkeep/sweep.h"

#include <stdlib.h>

#include "base/backoff.h"
#include "store/sidecar/sql_upkeep.h"
#include "ws/node.h"

#define SWEEP_MS 60000
#define S_PER_DAY 86400

struct sweep {
	struct node *node;
	int64_t begun_ms; /* the sweep of queues, and the retention of what else is kept */
	bool under_way;	  /* of queues: a call */
	enum { RETAINED, RETAIN_BEGIN, RETAIN_GO_ON, RETAIN_UNDER_WAY } retention;
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

static void on_retain(void *context, enum err e, bool rest)
{
	struct sweep *s = context;

	s->retention = e == OK && rest ? RETAIN_GO_ON : RETAINED;
}

static void retain(struct sweep *s)
{
	const struct config *c = s->node->config;
	struct retained kept = {
		.readings_s = c->keep_readings_days * S_PER_DAY,
		.chat_s = c->keep_chat_days * S_PER_DAY,
		.notifications_s = c->keep_notifications_days * S_PER_DAY,
		.devices_s = c->keep_devices_days * S_PER_DAY,
	};
	bool begins = s->retention == RETAIN_BEGIN,
	     any = kept.readings_s + kept.chat_s + kept.notifications_s + kept.devices_s > 0;

	s->retention =
		any && sql_retain(s->node->db.acts, begins, &kept, on_retain, s) == OK ? RETAIN_UNDER_WAY : RETAINED;
}

void sweep_check(struct sweep *s, int64_t now_ms)
{
	if (now_ms - s->begun_ms >= SWEEP_MS && !s->under_way) {
		s->begun_ms = now_ms;
		sweep_after(s, -1);
		if (s->retention == RETAINED)
			s->retention = RETAIN_BEGIN;
	}
	if (s->retention == RETAIN_BEGIN || s->retention == RETAIN_GO_ON)
		retain(s);
}
