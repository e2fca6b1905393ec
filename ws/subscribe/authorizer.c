#include "ws/subscribe/authorizer.h"

#include <stdlib.h>

#include "ws/deliver/backfill.h"
#include "ws/deliver/presence.h"

#define BATCH_MAX 256	/* at least SELECTION_MAX: a session's subscriptions are asked about together */
#define UNDER_WAY_MAX 2 /* batches: one is on its way while the other gathers */

struct authorizer {
	struct node *node;
	struct subscription_queue waiting; /* each with a reference */
	unsigned under_way;
};

struct attach_batch {
	struct authorizer *authorizer;
	size_t count;
	struct subscription *subscriptions[BATCH_MAX]; /* each with a reference */
	struct attach_item items[BATCH_MAX];
	char ids[BATCH_MAX][UUID_TEXT_SIZE], times[BATCH_MAX][CLOCK_TEXT_SIZE]; /* of the items */
	uint64_t calls;								/* presence_calls() when it was sent */
	struct attach_limits limits;
};

static void ask_next(struct authorizer *a);

enum err authorizer_new(struct authorizer **a, struct node *n)
{
	*a = calloc(1, sizeof(**a));
	if (!*a)
		return ERR_MEMORY;
	(*a)->node = n;
	STAILQ_INIT(&(*a)->waiting);
	return OK;
}

void authorizer_free(struct authorizer **a)
{
	if (!*a)
		return;
	subscription_queue_clear(&(*a)->waiting);
	free(*a);
	*a = NULL;
}

static void refuse(struct subscription *sub, enum err why)
{
	sub->session->kind->refused(sub, why);
}

static void allow(const struct attach_batch *b, struct subscription *sub, const struct attach_row *row)
{
	if (row->counted)
		presence_take_over(b->authorizer->node->fanout.presence, sub, row->topic_id, b->calls);
	subscription_step(sub, STEP_ALLOWED, row);
}

/* Room for the pages that a call may bring along. Nobody is given up for what may not be there. */
static void reserve_pages(struct attach_batch *b)
{
	struct budget *budget = &b->authorizer->node->budget;

	if (!budget_has_room(budget, PAGE_BYTES + MESSAGE_MAX))
		return;
	budget_reserve(budget, PAGE_BYTES + MESSAGE_MAX);
	b->limits.rows = PAGE_ROWS;
	b->limits.bytes = PAGE_BYTES;
}

static void release_pages(const struct attach_batch *b)
{
	if (b->limits.rows > 0)
		budget_release(&b->authorizer->node->budget, PAGE_BYTES + MESSAGE_MAX);
}

/*
 *	result	not looked at on an error
 */
static void finish_batch(struct attach_batch *b, enum err e, const struct attach_result *result)
{
	struct authorizer *a = b->authorizer;
	struct backfill *backfill = a->node->fanout.backfill;
	const struct attach_row *rows = e == OK ? result->rows : NULL;

	release_pages(b);
	if (e == OK)
		backfill_lend(backfill, result->pages, result->pages_count);
	for (size_t i = 0; i < b->count; i++) {
		struct subscription *sub = b->subscriptions[i];

		if (session_awaits(sub, SUBSCRIPTION_ATTACHING)) {
			if (e != OK || rows[i].outcome != OK)
				refuse(sub, e != OK ? e : rows[i].outcome);
			else
				allow(b, sub, &rows[i]);
		} else if (e == OK && rows[i].counted) {
			/* It went meanwhile. */
			presence_uncount(a->node->fanout.presence, sub, rows[i].topic_id);
		}
		subscription_unref(sub);
	}
	if (e == OK)
		backfill_lend(backfill, NULL, 0);
	free(b);
	a->under_way--;
}

static void on_attach(void *context, enum err e, const struct attach_result *result)
{
	struct attach_batch *b = context;
	struct authorizer *a = b->authorizer;

	if (e != OK)
		presence_refuse(a->node->fanout.presence);
	finish_batch(b, e, result);
	ask_next(a);
}

static void add_item(struct attach_batch *b, struct subscription *sub)
{
	const struct selected *wanted = sub->wanted;
	size_t i = b->count++;

	b->subscriptions[i] = sub;
	b->items[i] = (struct attach_item){
		.user_id = sub->subscriber.reader.user_id,
		.role = role_text(sub->session->role),
		.topic = wanted->topic,
		.epoch = wanted->cursor_damaged ? NULL : wanted->cursor.epoch,
		.after = !wanted->has_cursor	  ? -1
			 : wanted->cursor_damaged ? 0
						  : (int64_t)wanted->cursor.seq,
		.device = sub->session->dialog.device[0] != '\0' ? sub->session->dialog.device : NULL,
		.rewind = wanted->rewind,
		.types = message_types_json(sub->types),
		.also = wanted->presence ? "presence" : NULL,
	};
	/* A poller's, which is asked for anew now and then. */
	if (sub->record.written_down)
		return;
	b->items[i].connection_id = uuid_text(b->ids[i], &sub->subscriber.reader.connection_id);
	b->items[i].transport = sub->record.transport;
	b->items[i].connected_at = clock_text(b->times[i], sub->record.connected_us);
}

/* How many at the head of the queue are of the same session. */
static size_t first_of_one_session(const struct authorizer *a)
{
	const struct subscription *first = STAILQ_FIRST(&a->waiting), *sub = first;
	size_t count = 0;

	for (; sub && sub->session == first->session; sub = STAILQ_NEXT(sub, queue))
		count++;
	return count;
}

static void take_waiting(struct authorizer *a, struct attach_batch *b)
{
	const struct session *taken = NULL;
	struct subscription *sub;

	while (b->count < BATCH_MAX && (sub = STAILQ_FIRST(&a->waiting))) {
		if (sub->session != taken && b->count > 0 && b->count + first_of_one_session(a) > BATCH_MAX)
			break;
		taken = sub->session;
		STAILQ_REMOVE_HEAD(&a->waiting, queue);
		if (!session_awaits(sub, SUBSCRIPTION_ATTACHING)) {
			subscription_unref(sub);
			continue;
		}
		add_item(b, sub);
	}
}

/* No answer will come that could ask for them. */
static void refuse_waiting(struct authorizer *a)
{
	struct subscription_queue waiting = STAILQ_HEAD_INITIALIZER(waiting);
	struct subscription *sub;

	STAILQ_CONCAT(&waiting, &a->waiting);
	while ((sub = STAILQ_FIRST(&waiting))) {
		STAILQ_REMOVE_HEAD(&waiting, queue);
		if (session_awaits(sub, SUBSCRIPTION_ATTACHING))
			refuse(sub, ERR_MEMORY);
		subscription_unref(sub);
	}
}

static void ask_next(struct authorizer *a)
{
	while (a->under_way < UNDER_WAY_MAX && !STAILQ_EMPTY(&a->waiting)) {
		struct attach_batch *b = calloc(1, sizeof(*b));
		enum err e = ERR_AWAY;

		/* The next answer tries again. */
		if (!b && a->under_way == 0)
			refuse_waiting(a);
		if (!b)
			return;
		b->authorizer = a;
		b->limits.queue_max = a->node->config->queue_max;
		a->under_way++;
		take_waiting(a, b);
		/* What this asks for is to include all that was delivered before. */
		presence_flush(a->node->fanout.presence);
		b->calls = presence_calls(a->node->fanout.presence);
		if (b->count > 0) {
			reserve_pages(b);
			e = sql_attach(a->node->db.queries,
				       &(struct attach_node){
					       .id = a->node->id_text,
					       .opened_ever = (int64_t)a->node->sessions.opened,
					       .require_user = a->node->config->require_user,
				       },
				       &b->limits, b->items, b->count, on_attach, b);
		}
		if (e != OK)
			finish_batch(b, e, NULL);
	}
}

bool authorizer_can_ask(const struct authorizer *a)
{
	return pipeline_is_up(a->node->db.queries) && pipeline_is_up(a->node->db.fetches);
}

static void enqueue(struct authorizer *a, struct subscription *sub)
{
	subscription_ref(sub);
	STAILQ_INSERT_TAIL(&a->waiting, sub, queue);
}

void authorizer_ask(struct authorizer *a, struct subscription *sub)
{
	enqueue(a, sub);
	ask_next(a);
}

void authorizer_ask_all(struct authorizer *a, struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		enqueue(a, s->subscriptions.items[i]);
	ask_next(a);
}
