#include "ws/ledger.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "store/calls.h"

#define PAUSE_MS 100

/* How many clients a topic has here. */
struct present {
	UT_hash_handle hh; /* by topic_id */
	int64_t topic_id;
	int64_t clients;
	bool changed;
};

/* How far a topic was delivered, not yet written. */
struct delivered {
	UT_hash_handle hh; /* by topic_id */
	int64_t topic_id;
	int64_t seq;
	char epoch[EPOCH_MAX + 1]; /* that the seq is of */
};

/* A message for one user alone that was sent. */
struct sent {
	int64_t topic_id;
	int64_t seq;
	char epoch[EPOCH_MAX + 1];
};

/* A list that grows: what is under way keeps it until the answer. */
struct subscription_array {
	struct subscription **items; /* each with a reference */
	size_t count, size;
};

/* A subscription that is no more. */
struct closed {
	char id[UUID_TEXT_SIZE]; /* of its connection */
	int64_t topic_id;
};

TAILQ_HEAD(subscription_list, subscription);

struct ledger {
	struct node *node;
	void (*counted)(struct subscription *sub);
	uv_timer_t timer;
	struct present *present;
	size_t changed; /* how many of them have */
	struct delivered *delivered;
	struct subscription_array opened;
	struct closed *closed;
	size_t closed_count, closed_size;
	struct subscription_list written; /* all that the database knows, or is about to */
	struct buf sent;		  /* of struct sent */
	unsigned under_way;		  /* calls */
	int64_t written_ms;		  /* when the last call was sent */
	bool timer_set;
	bool refused; /* the last call: it is tried again, with nothing in it if need be, until one is taken */
};

struct writing {
	struct ledger *ledger;
	struct subscription_array opened;
};

static void on_timer(uv_timer_t *timer)
{
	struct ledger *l = timer->data;

	l->timer_set = false;
	ledger_flush(l);
}

enum err ledger_new(struct ledger **l, struct node *n, void (*counted)(struct subscription *sub))
{
	*l = calloc(1, sizeof(**l));
	if (!*l)
		return ERR_MEMORY;
	(*l)->node = n;
	(*l)->counted = counted;
	TAILQ_INIT(&(*l)->written);
	uv_timer_init(n->loop, &(*l)->timer);
	(*l)->timer.data = *l;
	return OK;
}

static void array_release(struct subscription_array *a)
{
	for (size_t i = 0; i < a->count; i++)
		subscription_unref(a->items[i]);
	free(a->items);
	*a = (struct subscription_array){0};
}

static bool array_add(struct subscription_array *a, struct subscription *sub)
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

static void forget_delivered(struct ledger *l)
{
	struct delivered *d, *next;

	HASH_ITER (hh, l->delivered, d, next) {
		HASH_DEL(l->delivered, d);
		free(d);
	}
}

static void forget_present(struct ledger *l)
{
	struct present *p, *next;

	HASH_ITER (hh, l->present, p, next) {
		HASH_DEL(l->present, p);
		free(p);
	}
	l->changed = 0;
}

void ledger_lost(struct ledger *l)
{
	for (size_t i = 0; i < l->opened.count; i++)
		if (session_awaits(l->opened.items[i], SUBSCRIPTION_COUNTING))
			session_close(l->opened.items[i]->session, CLOSE_TRY_LATER, "try again later");
	array_release(&l->opened);
	l->closed_count = 0;
	buf_free(&l->sent);
	forget_delivered(l);
	forget_present(l);
}

void ledger_free(struct ledger **l)
{
	if (!*l)
		return;
	ledger_lost(*l);
	free((*l)->closed);
	free(*l);
	*l = NULL;
}

static void soon(struct ledger *l)
{
	if (l->timer_set || l->under_way > 0)
		return;
	int64_t wait_ms = l->written_ms + PAUSE_MS - clock_monotonic_ms();

	l->timer_set = true;
	uv_timer_start(&l->timer, on_timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

/* A count that found no memory: the renewal makes it right. */
static void forget_count(struct ledger *l)
{
	log_error("no memory to write down who is connected");
	l->node->renew = true;
}

static void change_present(struct ledger *l, int64_t topic_id, int by)
{
	struct present *p;

	/* A connection that is on no topic (yet). */
	if (topic_id == 0)
		return;
	HASH_FIND(hh, l->present, &topic_id, sizeof(topic_id), p);
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p) {
			forget_count(l);
			return;
		}
		p->topic_id = topic_id;
		HASH_ADD(hh, l->present, topic_id, sizeof(p->topic_id), p);
		if (!HASH_HAS(hh, p)) {
			free(p);
			forget_count(l);
			return;
		}
	}
	p->clients += by;
	l->changed += !p->changed;
	p->changed = true;
}

void ledger_opened(struct ledger *l, struct subscription *sub)
{
	if (!array_add(&l->opened, sub)) {
		session_close(sub->session, CLOSE_TRY_LATER, "try again later");
		return;
	}
	sub->written_down = true;
	TAILQ_INSERT_TAIL(&l->written, sub, written);
	change_present(l, subscription_topic_id(sub), 1);
	if (l->under_way == 0)
		ledger_flush(l);
}

void ledger_erase(struct ledger *l, const struct subscription *sub)
{
	if (l->closed_count == l->closed_size) {
		size_t size = l->closed_size ? l->closed_size * 2 : 64;
		struct closed *closed = realloc(l->closed, size * sizeof(*closed));

		if (!closed) {
			log_error("no memory to write down who is gone");
			l->node->renew = true;
			return;
		}
		l->closed = closed;
		l->closed_size = size;
	}
	uuid_text(l->closed[l->closed_count].id, &sub->subscriber.reader.connection_id);
	l->closed[l->closed_count++].topic_id = subscription_topic_id(sub);
	soon(l);
}

void ledger_closed(struct ledger *l, struct subscription *sub)
{
	if (!sub->written_down)
		return;
	sub->written_down = false;
	TAILQ_REMOVE(&l->written, sub, written);
	change_present(l, subscription_topic_id(sub), -1);
	ledger_erase(l, sub);
}

void ledger_delivered(struct ledger *l, const struct hub_topic *t)
{
	struct delivered *d;

	/* What is kept for its id is of the numbering that is the database's now. */
	if (t->stale)
		return;
	HASH_FIND(hh, l->delivered, &t->id, sizeof(t->id), d);
	if (!d) {
		d = calloc(1, sizeof(*d));
		if (!d)
			return; /* it may be sent twice, then */
		d->topic_id = t->id;
		HASH_ADD(hh, l->delivered, topic_id, sizeof(d->topic_id), d);
		if (!HASH_HAS(hh, d)) {
			free(d);
			return;
		}
	}
	d->seq = (int64_t)t->delivered_seq;
	memcpy(d->epoch, t->epoch, sizeof(d->epoch));
	soon(l);
}

void ledger_sent(struct ledger *l, const struct hub_topic *t, uint64_t seq)
{
	struct sent sent = {.topic_id = t->id, .seq = (int64_t)seq};

	/* It would not be written: ledger_renew() forgets it. */
	if (!pipeline_is_up(l->node->pipeline))
		return;
	memcpy(sent.epoch, t->epoch, sizeof(sent.epoch));
	buf_add(&l->sent, &sent, sizeof(sent));
	/* One that finds no memory may be sent twice; those before it need not. */
	l->sent.failed = false;
	soon(l);
}

/*
 * What went between the database's look and its answer is not in `written`, and may be there all the same: written by a
 * call that is on its way. So what says that it is gone is kept: the closed, and the topics with nobody left.
 */
void ledger_renew(struct ledger *l)
{
	struct subscription *sub;
	struct present *p;
	struct hub_topic *t;

	array_release(&l->opened);
	for (p = l->present; p; p = p->hh.next) {
		p->clients = 0;
		p->changed = true;
	}
	l->changed = HASH_COUNT(l->present);
	/* What has gathered may be of a numbering that is not the database's. */
	forget_delivered(l);
	buf_free(&l->sent);
	l->node->renew = false;
	TAILQ_FOREACH (sub, &l->written, written) {
		if (array_add(&l->opened, sub))
			change_present(l, subscription_topic_id(sub), 1);
		else
			l->node->renew = true;
	}
	for (t = hub_first(l->node->hub); t; t = hub_next(t)) {
		if (t->delivered_seq > 0)
			ledger_delivered(l, t);
	}
	ledger_flush(l);
}

static void on_written(void *context, enum err e)
{
	struct writing *w = context;
	struct ledger *l = w->ledger;

	l->under_way--;
	l->refused = e != OK;
	for (size_t i = 0; i < w->opened.count; i++) {
		struct subscription *sub = w->opened.items[i];

		if (!session_awaits(sub, SUBSCRIPTION_COUNTING))
			continue;
		if (e == OK)
			l->counted(sub);
		else
			session_close(sub->session, CLOSE_TRY_LATER, "try again later");
	}
	array_release(&w->opened);
	free(w);
	if (e != OK) {
		l->node->renew = true;
		return;
	}
	if (l->opened.count > 0)
		ledger_flush(l);
	else if (l->changed > 0 || l->closed_count > 0 || l->sent.len > 0 || l->delivered)
		soon(l);
}

/* What one call takes, made from what has gathered. */
struct columns {
	struct flush flush; /* its arrays are owned */
	char (*ids)[UUID_TEXT_SIZE];
	char (*times)[CLOCK_TEXT_SIZE];
};

/* Each with room for one more: an empty one is no failure. */
static bool columns_new(struct columns *c, const struct ledger *l)
{
	size_t presence = l->changed + 1, opened = l->opened.count + 1, closed = l->closed_count + 1;
	size_t delivered = HASH_COUNT(l->delivered) + 1, sent = l->sent.len / sizeof(struct sent) + 1;
	struct flush *f = &c->flush;

	*c = (struct columns){
		.flush =
			{
				.presence_topics = calloc(presence, sizeof(int64_t)),
				.presence_clients = calloc(presence, sizeof(int64_t)),
				.opened_topics = calloc(opened, sizeof(int64_t)),
				.opened_ids = calloc(opened, sizeof(char *)),
				.opened_users = calloc(opened, sizeof(char *)),
				.opened_transports = calloc(opened, sizeof(char *)),
				.opened_at = calloc(opened, sizeof(char *)),
				.closed_ids = calloc(closed, sizeof(char *)),
				.closed_topics = calloc(closed, sizeof(int64_t)),
				.delivered_topics = calloc(delivered, sizeof(int64_t)),
				.delivered_seqs = calloc(delivered, sizeof(int64_t)),
				.delivered_epochs = calloc(delivered, sizeof(char *)),
				.sent_topics = calloc(sent, sizeof(int64_t)),
				.sent_seqs = calloc(sent, sizeof(int64_t)),
				.sent_epochs = calloc(sent, sizeof(char *)),
				.opened_ever = (int64_t)l->node->sessions_opened,
			},
		.ids = calloc(opened, UUID_TEXT_SIZE),
		.times = calloc(opened, CLOCK_TEXT_SIZE),
	};
	return f->presence_topics && f->presence_clients && f->opened_topics && f->opened_ids && f->opened_users &&
	       f->opened_transports && f->opened_at && f->closed_ids && f->closed_topics && f->delivered_topics &&
	       f->delivered_seqs && f->delivered_epochs && f->sent_topics && f->sent_seqs && f->sent_epochs && c->ids &&
	       c->times;
}

static void columns_free(struct columns *c)
{
	struct flush *f = &c->flush;
	void *all[] = {
		f->presence_topics,   f->presence_clients, f->opened_topics, f->opened_ids,    f->opened_users,
		f->opened_transports, f->opened_at,	   f->closed_ids,    f->closed_topics, f->delivered_topics,
		f->delivered_seqs,    f->sent_topics,	   f->sent_seqs,     c->ids,	       c->times,
		f->delivered_epochs,  f->sent_epochs};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		free(all[i]);
}

static void take_presence(struct flush *f, struct ledger *l)
{
	struct present *p, *next;

	HASH_ITER (hh, l->present, p, next) {
		if (!p->changed)
			continue;
		f->presence_topics[f->presence_count] = p->topic_id;
		f->presence_clients[f->presence_count++] = p->clients;
		p->changed = false;
		if (p->clients == 0) {
			HASH_DEL(l->present, p);
			free(p);
		}
	}
	l->changed = 0;
}

static void take_opened(struct columns *c, const struct ledger *l)
{
	struct flush *f = &c->flush;

	for (size_t i = 0; i < l->opened.count; i++) {
		const struct subscription *sub = l->opened.items[i];
		size_t n = f->opened_count;

		/* Gone already: its closing is in the same call or was in one before. */
		if (!sub->written_down)
			continue;
		f->opened_ids[n] = uuid_text(c->ids[n], &sub->subscriber.reader.connection_id);
		f->opened_topics[n] = subscription_topic_id(sub);
		f->opened_users[n] = sub->subscriber.reader.user_id;
		f->opened_transports[n] = sub->transport;
		f->opened_at[n] = clock_text(c->times[n], sub->connected_us);
		f->opened_count++;
	}
}

static void take_rest(struct flush *f, const struct ledger *l)
{
	const struct sent *sent = (const struct sent *)(const void *)l->sent.bytes;
	struct delivered *d;

	for (size_t i = 0; i < l->closed_count; i++) {
		f->closed_ids[i] = l->closed[i].id;
		f->closed_topics[i] = l->closed[i].topic_id;
	}
	f->closed_count = l->closed_count;
	for (d = l->delivered; d; d = d->hh.next) {
		f->delivered_topics[f->delivered_count] = d->topic_id;
		f->delivered_epochs[f->delivered_count] = d->epoch;
		f->delivered_seqs[f->delivered_count++] = d->seq;
	}
	for (size_t i = 0; i < l->sent.len / sizeof(*sent); i++) {
		f->sent_topics[f->sent_count] = sent[i].topic_id;
		f->sent_epochs[f->sent_count] = sent[i].epoch;
		f->sent_seqs[f->sent_count++] = sent[i].seq;
	}
}

bool ledger_is_refused(const struct ledger *l)
{
	return l->refused;
}

void ledger_flush(struct ledger *l)
{
	struct columns c = {0};
	struct writing *w;

	/* Counts that the database may have wrong are not built on. */
	if (!pipeline_is_up(l->node->pipeline) || l->node->renew)
		return;
	if (l->changed == 0 && l->opened.count == 0 && l->closed_count == 0 && l->sent.len == 0 && !l->delivered &&
	    !(l->refused && l->under_way == 0))
		return;
	uv_timer_stop(&l->timer);
	l->timer_set = false;
	w = calloc(1, sizeof(*w));
	if (!w || !columns_new(&c, l)) {
		log_error("no memory to write down who is connected");
		free(w);
		columns_free(&c);
		soon(l);
		return;
	}
	take_presence(&c.flush, l);
	take_opened(&c, l);
	take_rest(&c.flush, l);

	w->ledger = l;
	w->opened = l->opened;
	l->opened = (struct subscription_array){0};
	l->under_way++;
	l->written_ms = clock_monotonic_ms();

	enum err e = calls_flush(l->node->pipeline, l->node->id_text, &c.flush, on_written, w);

	l->closed_count = 0;
	buf_free(&l->sent);
	forget_delivered(l);
	columns_free(&c);
	if (e != OK)
		on_written(w, e);
}
