#include "domain/fanout/hub_topic.h"

#include <stdio.h>
#include <stdlib.h>

enum err hub_topic_new(struct hub_topic **t, int64_t id, const char *name, const char *epoch, uint64_t last_seq,
		       size_t tail_max_bytes, struct deflater *deflater)
{
	struct hub_topic *made = calloc(1, sizeof(*made));

	if (!made)
		return ERR_MEMORY;
	if (tail_new(&made->tail, last_seq, tail_max_bytes, deflater) != OK) {
		free(made);
		return ERR_MEMORY;
	}
	made->id = id;
	snprintf(made->name, sizeof(made->name), "%s", name);
	snprintf(made->epoch, sizeof(made->epoch), "%s", epoch);
	TAILQ_INIT(&made->current);
	TAILQ_INIT(&made->due);
	TAILQ_INIT(&made->waiting);
	TAILQ_INIT(&made->ahead);
	ephemerals_init(&made->ephemerals);
	*t = made;
	return OK;
}

void hub_topic_free(struct hub_topic **t)
{
	if (!*t)
		return;
	ephemerals_clear(&(*t)->ephemerals);
	tail_free(&(*t)->tail);
	free(*t);
	*t = NULL;
}

bool subscriber_has_everything(const struct subscriber *s)
{
	return s->seq == tail_seq(s->topic->tail) && s->ephemeral == s->topic->ephemerals.last;
}

/* What others have confirmed meanwhile does not count any more. */
static bool has_withheld(const struct subscriber *s)
{
	return s->withheld_to > s->topic->confirmed.seq;
}

void subscriber_withhold(struct subscriber *s, uint64_t from, uint64_t to)
{
	if (from == 0)
		return;
	if (!has_withheld(s))
		s->withheld_from = from;
	s->withheld_to = to;
}

uint64_t subscriber_delivers(const struct subscriber *s, uint64_t seq)
{
	return has_withheld(s) ? MIN(seq, s->withheld_from - 1) : seq;
}

bool subscriber_confirm(struct subscriber *s, uint64_t seq)
{
	struct hub_topic *t = s->topic;
	uint64_t up_to = MIN(subscriber_delivers(s, MIN(seq, s->seq)), t->delivered_seq);

	if (up_to <= t->confirmed.seq)
		return false;
	t->confirmed.seq = up_to;
	return true;
}

struct subscriber_list *subscriber_list_of(struct subscriber *s)
{
	if (s->state == SUB_WAITING)
		return &s->topic->waiting;
	if (s->state == SUB_AHEAD)
		return &s->topic->ahead;
	return subscriber_has_everything(s) ? &s->topic->current : &s->topic->due;
}

void hub_topic_begin_fan_out(struct hub_topic *t, int64_t (*clock_us)(void *context), void *context)
{
	const struct subscriber *first = TAILQ_FIRST(&t->due);

	if (clock_us && t->fan_out.subscribers == 0 && first && TAILQ_NEXT(first, link))
		t->fan_out.since_us = clock_us(context);
}

unsigned hub_topic_end_fan_out(struct hub_topic *t, int64_t (*clock_us)(void *context), void *context, int64_t *took_us)
{
	unsigned subscribers = t->fan_out.subscribers;

	*took_us = t->fan_out.since_us != 0 ? clock_us(context) - t->fan_out.since_us : 0;
	t->fan_out = (struct hub_fan_out){0};
	return subscribers;
}
