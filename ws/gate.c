#include "ws/gate.h"

#include "store/sidecar/sql_attach.h"
#include <stdlib.h>

#include "ws/ledger.h"

#define BATCH_MAX 256
#define UNDER_WAY_MAX 2 /* batches: one is on its way while the other gathers */

struct gate {
	struct node *node;
	void (*attached)(struct subscription *sub, const struct attach_row *row);
	void (*refused)(struct subscription *sub, enum err why);
	struct subscription_queue waiting; /* each with a reference */
	unsigned under_way;
};

struct batch {
	struct gate *gate;
	size_t count;
	struct subscription *subscriptions[BATCH_MAX]; /* each with a reference */
	struct attach_item items[BATCH_MAX];
};

static void ask_next(struct gate *g);

enum err gate_new(struct gate **g, struct node *n,
		  void (*attached)(struct subscription *sub, const struct attach_row *row),
		  void (*refused)(struct subscription *sub, enum err why))
{
	*g = calloc(1, sizeof(**g));
	if (!*g)
		return ERR_MEMORY;
	(*g)->node = n;
	(*g)->attached = attached;
	(*g)->refused = refused;
	STAILQ_INIT(&(*g)->waiting);
	return OK;
}

void gate_free(struct gate **g)
{
	if (!*g)
		return;
	subscription_queue_clear(&(*g)->waiting);
	free(*g);
	*g = NULL;
}

static void finish_batch(struct batch *b, enum err e, const struct attach_row *rows)
{
	struct gate *g = b->gate;

	for (size_t i = 0; i < b->count; i++) {
		struct subscription *sub = b->subscriptions[i];

		if (session_awaits(sub, SUBSCRIPTION_ATTACHING)) {
			if (e != OK || rows[i].outcome != OK)
				g->refused(sub, e != OK ? e : rows[i].outcome);
			else
				g->attached(sub, &rows[i]);
		}
		subscription_unref(sub);
	}
	free(b);
	g->under_way--;
}

static void on_attach(void *context, enum err e, const struct attach_row *rows, size_t count)
{
	struct batch *b = context;
	struct gate *g = b->gate;

	(void)count;
	finish_batch(b, e, rows);
	ask_next(g);
}

static void take_waiting(struct gate *g, struct batch *b)
{
	struct subscription *sub;

	while (b->count < BATCH_MAX && (sub = STAILQ_FIRST(&g->waiting))) {
		STAILQ_REMOVE_HEAD(&g->waiting, queue);
		if (!session_awaits(sub, SUBSCRIPTION_ATTACHING)) {
			subscription_unref(sub);
			continue;
		}
		b->items[b->count] = (struct attach_item){sub->subscriber.reader.user_id, role_text(sub->session->role),
							  sub->wanted->topic};
		b->subscriptions[b->count++] = sub;
	}
}

/* No answer will come that could ask for them. */
static void refuse_waiting(struct gate *g)
{
	struct subscription_queue waiting = STAILQ_HEAD_INITIALIZER(waiting);
	struct subscription *sub;

	STAILQ_CONCAT(&waiting, &g->waiting);
	while ((sub = STAILQ_FIRST(&waiting))) {
		STAILQ_REMOVE_HEAD(&waiting, queue);
		if (session_awaits(sub, SUBSCRIPTION_ATTACHING))
			g->refused(sub, ERR_MEMORY);
		subscription_unref(sub);
	}
}

static void ask_next(struct gate *g)
{
	while (g->under_way < UNDER_WAY_MAX && !STAILQ_EMPTY(&g->waiting)) {
		struct batch *b = calloc(1, sizeof(*b));
		enum err e = ERR_AWAY;

		/* The next answer tries again. */
		if (!b && g->under_way == 0)
			refuse_waiting(g);
		if (!b)
			return;
		b->gate = g;
		g->under_way++;
		take_waiting(g, b);
		/* What this asks for is to include all that was delivered before. */
		ledger_flush(g->node->ledger);
		if (b->count > 0)
			e = sql_attach(g->node->pipeline, b->items, b->count, g->node->config->require_user,
					 on_attach, b);
		if (e != OK)
			finish_batch(b, e, NULL);
	}
}

bool gate_can_ask(const struct gate *g)
{
	return pipeline_is_up(g->node->pipeline) && pipeline_is_up(g->node->fetches);
}

void gate_ask(struct gate *g, struct subscription *sub)
{
	subscription_ref(sub);
	STAILQ_INSERT_TAIL(&g->waiting, sub, queue);
	ask_next(g);
}
