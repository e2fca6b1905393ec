#include "domain/fanout/hub.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TURN_WRITES 64 /* to one topic, before the next has its turn */

TAILQ_HEAD(hub_topic_list, hub_topic);

struct hub {
	const struct hub_ops *ops;
	void *context; /* of ops */
	struct hub_topic *by_id;
	struct hub_topic_list busy;
	struct hub_topic_list by_age;
	struct hub_topic_list rung;
	size_t tail_max_bytes;
	size_t tails_max_bytes;
	size_t tails_bytes;
	uint64_t made;		   /* topics */
	struct deflater *deflater; /* borrowed; NULL: nothing is compressed */
};

enum err hub_new(struct hub **h, const struct hub_ops *ops, void *context, size_t tail_max_bytes,
		 size_t tails_max_bytes, struct deflater *deflater)
{
	struct hub *made = calloc(1, sizeof(*made));

	if (!made)
		return ERR_MEMORY;
	made->ops = ops;
	made->context = context;
	made->tail_max_bytes = tail_max_bytes;
	made->tails_max_bytes = tails_max_bytes;
	made->deflater = deflater;
	TAILQ_INIT(&made->busy);
	TAILQ_INIT(&made->by_age);
	TAILQ_INIT(&made->rung);
	*h = made;
	return OK;
}

void hub_free(struct hub **h)
{
	if (!*h)
		return;
	assert(!(*h)->by_id);
	free(*h);
	*h = NULL;
}

struct hub_topic *hub_find(const struct hub *h, int64_t id)
{
	struct hub_topic *t;

	HASH_FIND(hh, h->by_id, &id, sizeof(id), t);
	return t;
}

struct hub_topic *hub_first(const struct hub *h)
{
	return h->by_id;
}

size_t hub_topics(const struct hub *h)
{
	return HASH_COUNT(h->by_id);
}

size_t hub_tails_bytes(const struct hub *h)
{
	return h->tails_bytes;
}

enum err hub_hold(struct hub *h, struct hub_topic **t, int64_t id, const char *name, const char *epoch,
		  uint64_t last_seq, uint64_t delivered_seq)
{
	struct hub_topic *found = hub_find(h, id);

	if (!found) {
		enum err e = hub_topic_new(&found, id, name, epoch, last_seq, h->tail_max_bytes, h->deflater);

		if (e != OK)
			return e;
		found->serial = ++h->made;
		HASH_ADD(hh, h->by_id, id, sizeof(found->id), found);
		if (!HASH_HAS(hh, found)) {
			hub_topic_free(&found);
			return ERR_MEMORY;
		}
	} else if (strcmp(found->epoch, epoch) != 0) {
		return ERR_CONFLICT;
	}
	found->delivered_seq = MAX(found->delivered_seq, delivered_seq);
	found->holders++;
	*t = found;
	return OK;
}

void hub_let_go(struct hub *h, struct hub_topic *t)
{
	assert(t->holders > 0);
	if (--t->holders > 0)
		return;
	assert(TAILQ_EMPTY(&t->current) && TAILQ_EMPTY(&t->due) && TAILQ_EMPTY(&t->waiting) && TAILQ_EMPTY(&t->ahead));
	hub_retire(h, t);
	if (t->busy.on)
		TAILQ_REMOVE(&h->busy, t, busy.link);
	if (t->age.on)
		TAILQ_REMOVE(&h->by_age, t, age.link);
	h->tails_bytes -= tail_size(t->tail);
	hub_topic_free(&t);
}

void hub_retire(struct hub *h, struct hub_topic *t)
{
	if (t->stale)
		return;
	t->stale = true;
	HASH_DELETE(hh, h->by_id, t);
	if (t->rung.on)
		TAILQ_REMOVE(&h->rung, t, rung.link);
	t->rung.on = false;
}

void hub_ring(struct hub *h, int64_t id)
{
	struct hub_topic *t = hub_find(h, id);

	if (!t || t->rung.on)
		return;
	t->rung.on = true;
	TAILQ_INSERT_TAIL(&h->rung, t, rung.link);
}

size_t hub_take_rung(struct hub *h, struct hub_topic **topics, size_t max)
{
	struct hub_topic *t;
	size_t count = 0;

	while (count < max && (t = TAILQ_FIRST(&h->rung))) {
		TAILQ_REMOVE(&h->rung, t, rung.link);
		t->rung.on = false;
		topics[count++] = t;
	}
	return count;
}

/* A topic with somebody due has its turn. */
static void mark_busy(struct hub *h, struct hub_topic *t)
{
	if (t->busy.on || TAILQ_EMPTY(&t->due))
		return;
	t->busy.on = true;
	TAILQ_INSERT_TAIL(&h->busy, t, busy.link);
}

static void put(struct hub *h, struct subscriber *s, enum subscriber_state state)
{
	struct hub_topic *t = s->topic;

	hub_leave(s);
	s->state = state;
	TAILQ_INSERT_TAIL(subscriber_list_of(s), s, link);
	mark_busy(h, t);
}

void hub_leave(struct subscriber *s)
{
	if (s->state == SUB_OUT)
		return;
	TAILQ_REMOVE(subscriber_list_of(s), s, link);
	s->state = SUB_OUT;
}

void hub_delivered(struct hub *h, struct hub_topic *t, uint64_t up_to, uint64_t private_seq)
{
	if (private_seq > 0)
		h->ops->delivered_private(h->context, t, private_seq);
	if (up_to <= t->delivered_seq)
		return;
	t->delivered_seq = up_to;
	h->ops->delivered(h->context, t);
}

/* The ephemeral messages that it lacks. False: it takes no more. */
static bool write_ephemerals(struct hub *h, struct subscriber *s)
{
	struct ephemeral *e;
	bool more = true;

	STAILQ_FOREACH (e, &s->topic->ephemerals.list, next) {
		if (!more || s->ends_seq != 0)
			break;
		if (e->number <= s->ephemeral)
			continue;
		s->ephemeral = e->number;
		if (ephemeral_is_for(e, &s->reader))
			more = h->ops->write(
				       h->context, s,
				       &(struct delivery){.bytes = {e->bytes, e->len}, .count = 1, .age_ms = -1}) ==
			       HUB_SENT;
	}
	/* Those that were dropped have gone by. */
	if (more)
		s->ephemeral = s->topic->ephemerals.last;
	return more;
}

/* One write, ephemeral messages aside, to a subscriber that is out of every list; where it belongs then. */
static void write_to(struct hub *h, struct subscriber *s, int64_t now_ms)
{
	struct hub_topic *t = s->topic;
	struct delivery d;
	bool more = true;

	if (s->reader.inflates)
		tail_compress(t->tail);
	if (tail_after(t->tail, s->seq, &s->reader, now_ms, HUB_WRITE_MAX, &d) == ERR_EVICTED) {
		h->ops->behind(h->context, s);
		return;
	}
	s->seq = d.last;
	subscriber_withhold(s, d.withheld_from, d.withheld_to);
	if (d.bytes.len > 0) {
		enum hub_written written = h->ops->write(h->context, s, &d);

		if (written != HUB_KEPT)
			hub_delivered(h, t, subscriber_delivers(s, d.last), d.private ? d.last : 0);
		more = written == HUB_SENT;
	}
	if (more && s->seq == tail_seq(t->tail))
		more = write_ephemerals(h, s);
	put(h, s, more ? SUB_READY : SUB_WAITING);
}

void hub_join(struct hub *h, struct subscriber *s)
{
	assert(s->state == SUB_OUT);
	s->ephemeral = s->topic->ephemerals.last;
	if (s->reader.inflates)
		tail_compress(s->topic->tail);
	if (s->seq < tail_floor(s->topic->tail))
		h->ops->behind(h->context, s);
	else
		put(h, s, s->seq > tail_seq(s->topic->tail) ? SUB_AHEAD : SUB_READY);
}

void hub_wait(struct hub *h, struct subscriber *s)
{
	if (s->state == SUB_READY || s->state == SUB_AHEAD)
		put(h, s, SUB_WAITING);
}

void hub_writable(struct hub *h, struct subscriber *s, int64_t now_ms)
{
	if (s->state != SUB_WAITING)
		return;
	hub_leave(s);
	/* What could not be taken as it came has gone by. */
	s->ephemeral = s->topic->ephemerals.last;
	if (s->seq > tail_seq(s->topic->tail))
		put(h, s, SUB_AHEAD);
	else
		write_to(h, s, now_ms);
}

void hub_serve(struct hub *h, struct subscriber *s, int64_t now_ms)
{
	while (s->state == SUB_READY && !subscriber_has_everything(s)) {
		hub_leave(s);
		write_to(h, s, now_ms);
	}
}

/* Among those whose tails have memory the newest; those without are not looked at. */
static void set_age(struct hub *h, struct hub_topic *t)
{
	if (t->age.on)
		TAILQ_REMOVE(&h->by_age, t, age.link);
	t->age.on = tail_size(t->tail) > 0;
	if (t->age.on)
		TAILQ_INSERT_TAIL(&h->by_age, t, age.link);
}

/* Frees tails until there is room, the longest unused first; not the one that is being written. */
static void make_room(struct hub *h, const struct hub_topic *keep)
{
	struct hub_topic *t, *next;

	for (t = TAILQ_FIRST(&h->by_age); t && h->tails_bytes > h->tails_max_bytes; t = next) {
		next = TAILQ_NEXT(t, age.link);
		if (t == keep || !TAILQ_EMPTY(&t->due))
			continue;
		h->tails_bytes -= tail_size(t->tail);
		tail_forget(t->tail, tail_seq(t->tail));
		h->tails_bytes += tail_size(t->tail);
		set_age(h, t);
	}
}

/* The tail has come nearer to those who have more than it. */
static void reach_ahead(struct hub *h, struct hub_topic *t)
{
	struct subscriber *s = TAILQ_FIRST(&t->ahead), *next;

	for (; s; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s->seq <= tail_seq(t->tail))
			put(h, s, SUB_READY);
	}
}

enum err hub_append(struct hub *h, struct hub_topic *t, const struct stored_message *m)
{
	size_t before = tail_size(t->tail);
	bool hole = m->seq > tail_seq(t->tail) + 1;
	enum err e;

	assert(m->seq > tail_seq(t->tail));

	if (hole)
		tail_forget(t->tail, m->seq - 1);
	e = tail_append(t->tail, m);
	h->tails_bytes += tail_size(t->tail) - before;
	/* tail_seq() has moved: whoever had everything lacks something, all of them at once. */
	if (e == OK || hole)
		TAILQ_CONCAT(&t->due, &t->current, link);
	reach_ahead(h, t);
	set_age(h, t);
	mark_busy(h, t);
	make_room(h, t);
	return e;
}

void hub_revoke(struct hub *h, struct hub_topic *t, const char *user_id, uint64_t seq)
{
	t->revoked_seq = MAX(t->revoked_seq, seq);
	h->ops->revoked(h->context, t, user_id, seq);
}

bool hub_is_busy(const struct hub *h)
{
	return !TAILQ_EMPTY(&h->busy);
}

static void end_fan_out(const struct hub *h, struct hub_topic *t)
{
	int64_t took_us;
	unsigned subscribers = hub_topic_end_fan_out(t, h->ops->clock_us, h->context, &took_us);

	if (h->ops->fanned_out && subscribers > 0)
		h->ops->fanned_out(h->context, subscribers, took_us);
}

bool hub_run(struct hub *h, unsigned writes_max, int64_t now_ms)
{
	struct hub_topic *t;

	while (writes_max > 0 && (t = TAILQ_FIRST(&h->busy))) {
		struct subscriber *s;

		hub_topic_begin_fan_out(t, h->ops->clock_us, h->context);
		for (unsigned turn = MIN(writes_max, TURN_WRITES); turn > 0 && (s = TAILQ_FIRST(&t->due)); turn--) {
			TAILQ_REMOVE(&t->due, s, link);
			s->state = SUB_OUT;
			if (!TAILQ_EMPTY(&t->due))
				h->ops->soon(h->context, TAILQ_FIRST(&t->due));
			write_to(h, s, now_ms);
			t->fan_out.subscribers++;
			writes_max--;
		}
		TAILQ_REMOVE(&h->busy, t, busy.link);
		t->busy.on = !TAILQ_EMPTY(&t->due);
		if (t->busy.on) {
			TAILQ_INSERT_TAIL(&h->busy, t, busy.link);
		} else {
			end_fan_out(h, t);
			ephemerals_clear(&t->ephemerals);
		}
	}
	return hub_is_busy(h);
}

enum err hub_ephemeral(struct hub *h, struct hub_topic *t, struct span frame, const char *to_user,
		       const struct uuid *exclude)
{
	enum err e = OK;

	if (TAILQ_EMPTY(&t->current) && TAILQ_EMPTY(&t->due))
		return OK;
	e = ephemerals_add(&t->ephemerals, frame, to_user, exclude);
	if (e != OK)
		return e;
	/* As with a stored message: whoever had everything lacks this one. */
	TAILQ_CONCAT(&t->due, &t->current, link);
	mark_busy(h, t);
	return OK;
}
