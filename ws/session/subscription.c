#include "ws/session/subscription.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ws/metrics/node_metrics.h"
#include "ws/node.h"

#define ALLOWED_MS 10000 /* a poller that keeps coming back is asked anew whether it may */

struct subscription *subscription_new(const struct selected *wanted, const struct uuid *connection_id,
				      const char *transport)
{
	struct subscription *sub = calloc(1, sizeof(*sub));

	if (!sub)
		return NULL;
	if (wanted) {
		sub->wanted = malloc(sizeof(*sub->wanted));
		if (!sub->wanted) {
			free(sub);
			return NULL;
		}
		*sub->wanted = *wanted;
		sub->wanted->types = NULL;
		subscription_want(sub, wanted->types);
	}
	sub->refs = 1;
	STAILQ_INIT(&sub->askers);
	sub->record.transport = transport;
	sub->record.connected_us = clock_wall_us();
	sub->subscriber.reader.connection_id = *connection_id;
	return sub;
}

void subscription_want(struct subscription *sub, struct message_types *types)
{
	struct message_types *before = sub->types;

	sub->types = message_types_ref(types);
	sub->subscriber.reader.types = sub->types;
	message_types_unref(&before);
}

struct subscription *subscription_ref(struct subscription *sub)
{
	sub->refs++;
	return sub;
}

void subscription_unref(struct subscription *sub)
{
	if (--sub->refs > 0)
		return;
	subscription_answered(sub);
	message_types_unref(&sub->types);
	free(sub->wanted);
	free(sub->name);
	free(sub);
}

static void asker_free(struct asker *a)
{
	free(a->name);
	free(a->correlation);
	free(a);
}

bool subscription_ask(struct subscription *sub, const char *name, const char *correlation)
{
	struct asker *a = calloc(1, sizeof(*a));

	if (!a)
		return false;
	a->name = name ? strdup(name) : NULL;
	a->correlation = correlation ? strdup(correlation) : NULL;
	if ((name && !a->name) || (correlation && !a->correlation)) {
		asker_free(a);
		return false;
	}
	STAILQ_INSERT_TAIL(&sub->askers, a, next);
	return true;
}

void subscription_answered(struct subscription *sub)
{
	struct asker *a;

	while ((a = STAILQ_FIRST(&sub->askers))) {
		STAILQ_REMOVE_HEAD(&sub->askers, next);
		asker_free(a);
	}
}

void subscription_queue_clear(struct subscription_queue *q)
{
	struct subscription *sub;

	while ((sub = STAILQ_FIRST(q))) {
		STAILQ_REMOVE_HEAD(q, queue);
		subscription_unref(sub);
	}
}

void subscription_array_release(struct subscription_array *a)
{
	for (size_t i = 0; i < a->count; i++)
		subscription_unref(a->items[i]);
	free(a->items);
	*a = (struct subscription_array){0};
}

bool subscription_array_add(struct subscription_array *a, struct subscription *sub)
{
	if (a->count == a->size) {
		size_t size = a->size ? a->size * 2 : 16;
		struct subscription **items = realloc(a->items, size * sizeof(*items));

		if (!items)
			return false;
		a->items = items;
		a->size = size;
	}
	a->items[a->count++] = subscription_ref(sub);
	return true;
}

int64_t subscription_topic_id(const struct subscription *sub)
{
	return sub->subscriber.topic ? sub->subscriber.topic->id : 0;
}

const char *subscription_topic(const struct subscription *sub)
{
	return sub->subscriber.topic ? sub->subscriber.topic->name : sub->wanted ? sub->wanted->topic : "";
}

struct resume_point subscription_place(const struct subscription *sub)
{
	return (struct resume_point){
		.topic = sub->subscriber.topic->name,
		.epoch = sub->subscriber.topic->epoch,
		.seq = sub->subscriber.seq,
		.resumed_by = sub->at.resumed_by,
		.recovered = sub->at.recovered,
		.rewound = sub->at.rewound_from > 0,
		.missed_from = sub->at.missed_from,
		.missed_to = sub->at.missed_to,
	};
}

static void begin_place(struct subscription *sub)
{
	sub->at.recovered = true;
	sub->at.resumed_by = RESUMED_BY_QUEUE;
	sub->at.missed_from = sub->at.missed_to = 0;
	sub->at.known_seq = 0;
	sub->at.asked_seq = sub->at.confirmed_seq = 0;
	sub->at.rewound_from = 0;
	sub->subscriber.withheld_from = sub->subscriber.withheld_to = 0;
	sub->subscriber.ends_seq = 0;
	sub->unsent.waits = false;
	sub->unsent.after = 0;
	sub->at.welcomed = false;
}

static void forget_wanted(struct subscription *sub)
{
	sub->at.cursor_origin = sub->wanted->cursor_origin;
	if (sub->at.resumed_by != RESUMED_BY_DEVICE)
		sub->at.resumed_by = sub->wanted->has_cursor ? RESUMED_BY_CURSOR : RESUMED_BY_QUEUE;
	sub->presence = sub->wanted->presence;
	free(sub->wanted);
	sub->wanted = NULL;
}

/* What it does not begin with, and no client has confirmed, waits for one that takes all. */
static void withhold_before(struct subscription *sub)
{
	uint64_t confirmed = sub->subscriber.topic->confirmed.seq;

	if ((sub->types || sub->at.rewound_from > 0) && sub->subscriber.seq > confirmed)
		subscriber_withhold(&sub->subscriber, confirmed + 1, sub->subscriber.seq);
}

/* Without a cursor it has that of its device. */
static void take_device_place(struct subscription *sub, const struct attach_row *row)
{
	if (row->device_seq < 0)
		return;
	sub->wanted->has_cursor = true;
	sub->wanted->cursor.seq = (uint64_t)row->device_seq;
	sub->at.resumed_by = RESUMED_BY_DEVICE;
}

/* After the cursor that it brought, after what its device or some client has confirmed, or so far back as it wants. */
void subscription_find_place(struct subscription *sub, const struct attach_row *row)
{
	const struct selected *w = sub->wanted;
	uint64_t confirmed = MAX(row->confirmed_seq, sub->subscriber.topic->confirmed.seq);
	uint64_t oldest = row->last_seq - MIN(row->last_seq, row->queue_max);
	uint64_t floor = row->first_seq - 1;
	/* What has been fetched, and perhaps confirmed, since the database looked. */
	uint64_t newest = MAX(row->last_seq, tail_seq(sub->subscriber.topic->tail));

	begin_place(sub);
	take_device_place(sub, row);
	sub->at.known_seq = row->last_seq;
	if (row->rewound_after >= 0) {
		sub->at.rewound_from = (uint64_t)row->rewound_after + 1;
		sub->at.recovered = !w->has_cursor;
		sub->subscriber.seq = (uint64_t)row->rewound_after;
	} else if (!w->has_cursor) {
		sub->subscriber.seq = MIN(MAX(MAX(confirmed, floor), oldest), newest);
		/* What was confirmed since the database looked may have passed over some of theirs. */
		sub->unsent.waits = row->unsent || (sub->subscriber.reader.user_id && confirmed > row->confirmed_seq);
		sub->unsent.up_to = confirmed;
	} else if (w->cursor_damaged || !row->same_epoch || w->cursor.seq > row->last_seq) {
		sub->at.recovered = false;
		sub->subscriber.seq = MAX(floor, oldest);
	} else if (w->cursor.seq < floor) {
		sub->at.recovered = false;
		sub->at.missed_from = w->cursor.seq + 1;
		sub->at.missed_to = floor;
		sub->subscriber.seq = floor;
	} else {
		sub->subscriber.seq = w->cursor.seq;
	}
	if (sub->at.resumed_by == RESUMED_BY_DEVICE)
		sub->at.confirmed_seq = sub->subscriber.seq;
	withhold_before(sub);
	forget_wanted(sub);
}

bool subscription_can_resume(const struct subscription *sub, int64_t now_ms)
{
	const struct selected *w = sub->wanted;
	const struct hub_topic *t = sub->subscriber.topic;

	return t && !t->stale && (!w->presence || sub->presence) &&
	       MAX(t->revoked_seq, t->delivered_seq) <= tail_seq(t->tail) && now_ms - sub->allowed_ms < ALLOWED_MS &&
	       w->has_cursor && !w->cursor_damaged && strcmp(w->cursor.epoch, t->epoch) == 0 &&
	       w->cursor.seq >= tail_floor(t->tail) && w->cursor.seq <= tail_seq(t->tail);
}

void subscription_resume(struct subscription *sub)
{
	begin_place(sub);
	sub->subscriber.seq = sub->wanted->cursor.seq;
	withhold_before(sub);
	forget_wanted(sub);
}

void subscription_end(struct subscription *sub, struct node *n)
{
	hub_leave(&sub->subscriber);
	if (sub->subscriber.topic && sub->state == SUBSCRIPTION_CATCHING)
		metrics_add(&n->metrics, METRIC_CATCH_UP_CLIENTS, 0, 0, -1);
	if (sub->subscriber.topic)
		hub_let_go(n->fanout.hub, sub->subscriber.topic);
	sub->subscriber.topic = NULL;
	sub->subscriber.reader.user_id = NULL;
	sub->session = NULL;
}
