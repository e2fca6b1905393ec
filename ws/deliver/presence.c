/* More than 400 lines: what gathers is of one state, and goes in one call. */
#include "ws/deliver/presence.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log/log.h"
#include "store/sidecar/sql_node.h"
#include "ws/deliver/deliveries.h"
#include "ws/deliver/flush_columns.h"

#define PAUSE_MS 100

/* How many clients a topic has here. */
struct topic_presence {
	UT_hash_handle hh; /* by topic_id */
	int64_t topic_id;
	int64_t clients;
	uint64_t told; /* the last call that said how many there are, by presence.calls */
	bool changed;
};

/* A subscription that is no more. */
struct closed {
	char id[UUID_TEXT_SIZE]; /* of its connection */
	int64_t topic_id;
};

TAILQ_HEAD(subscription_list, subscription);

struct presence {
	struct node *node;
	uv_timer_t timer;
	struct topic_presence *present;
	size_t changed; /* how many of them have */
	struct subscription_array opened;
	struct deliveries deliveries; /* not written yet */
	struct closed *closed;
	size_t closed_count, closed_size;
	struct subscription_list written; /* all that the database knows, or is about to */
	unsigned under_way;		  /* calls */
	uint64_t calls;			  /* that have been sent */
	uint64_t told_none;		  /* the last of them that said 0 of a topic, which leaves `present` by that */
	int64_t written_ms;		  /* when the last call was sent */
	bool timer_set;
	bool doubted; /* presence_doubt() */
	bool refused; /* the last call: it is tried again, with nothing in it if need be, until one is taken */
};

/* A call that is under way. */
struct writing {
	struct presence *presence;
	struct subscription_array opened;
};

static void on_timer(uv_timer_t *timer)
{
	struct presence *p = timer->data;

	p->timer_set = false;
	presence_flush(p);
}

enum err presence_new(struct presence **p, struct node *n)
{
	*p = calloc(1, sizeof(**p));
	if (!*p)
		return ERR_MEMORY;
	(*p)->node = n;
	TAILQ_INIT(&(*p)->written);
	uv_timer_init(n->loop, &(*p)->timer);
	(*p)->timer.data = *p;
	return OK;
}

static void forget_present(struct presence *p)
{
	struct topic_presence *tp, *next;

	HASH_ITER (hh, p->present, tp, next) {
		HASH_DEL(p->present, tp);
		free(tp);
	}
	p->changed = 0;
}

void presence_lost(struct presence *p)
{
	for (size_t i = 0; i < p->opened.count; i++)
		if (session_awaits(p->opened.items[i], SUBSCRIPTION_COUNTING))
			session_close(p->opened.items[i]->session, CLOSE_TRY_LATER, "try again later");
	subscription_array_release(&p->opened);
	p->closed_count = 0;
	deliveries_forget(&p->deliveries);
	forget_present(p);
}

void presence_free(struct presence **p)
{
	if (!*p)
		return;
	presence_lost(*p);
	free((*p)->closed);
	free(*p);
	*p = NULL;
}

static void soon(struct presence *p)
{
	int64_t wait_ms = p->written_ms + PAUSE_MS - clock_monotonic_ms();

	if (p->timer_set || p->under_way > 0)
		return;
	p->timer_set = true;
	uv_timer_start(&p->timer, on_timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

void presence_doubt(struct presence *p)
{
	p->doubted = true;
}

bool presence_is_doubted(const struct presence *p)
{
	return p->doubted;
}

void presence_refuse(struct presence *p)
{
	p->refused = true;
	soon(p);
}

bool presence_is_refused(const struct presence *p)
{
	return p->refused;
}

/* A count that found no memory: the renewal makes it right. */
static void forget_count(struct presence *p)
{
	log_error("no memory to write down who is connected");
	p->doubted = true;
}

/* The topic's, made if new; NULL: no memory. */
static struct topic_presence *present_of(struct presence *p, int64_t topic_id)
{
	struct topic_presence *tp;

	HASH_FIND(hh, p->present, &topic_id, sizeof(topic_id), tp);
	if (tp)
		return tp;
	tp = calloc(1, sizeof(*tp));
	if (tp) {
		tp->topic_id = topic_id;
		tp->told = p->told_none;
		HASH_ADD(hh, p->present, topic_id, sizeof(tp->topic_id), tp);
	}
	if (!tp || !HASH_HAS(hh, tp)) {
		free(tp);
		forget_count(p);
		return NULL;
	}
	return tp;
}

static void change_present(struct presence *p, int64_t topic_id, int by)
{
	/* 0: a connection that is on no topic (yet). */
	struct topic_presence *tp = topic_id != 0 ? present_of(p, topic_id) : NULL;

	if (!tp)
		return;
	tp->clients += by;
	p->changed += !tp->changed;
	tp->changed = true;
}

void presence_opened(struct presence *p, struct subscription *sub)
{
	if (!subscription_array_add(&p->opened, sub)) {
		session_close(sub->session, CLOSE_TRY_LATER, "try again later");
		return;
	}
	sub->record.topic_id = subscription_topic_id(sub);
	sub->record.written_down = true;
	TAILQ_INSERT_TAIL(&p->written, sub, record.link);
	change_present(p, sub->record.topic_id, 1);
	if (p->under_way == 0)
		presence_flush(p);
}

uint64_t presence_calls(const struct presence *p)
{
	return p->calls;
}

void presence_take_over(struct presence *p, struct subscription *sub, int64_t topic_id, uint64_t calls)
{
	struct topic_presence *tp = p->doubted ? NULL : present_of(p, topic_id);

	/* A call that came behind it has said how many clients there are, without this one; or the next one is to. */
	if (!tp || tp->told > calls || tp->changed)
		return;
	tp->clients++;
	sub->record.topic_id = topic_id;
	sub->record.written_down = true;
	TAILQ_INSERT_TAIL(&p->written, sub, record.link);
}

void presence_erase(struct presence *p, const struct subscription *sub)
{
	if (p->closed_count == p->closed_size) {
		size_t size = p->closed_size ? p->closed_size * 2 : 64;
		struct closed *closed = realloc(p->closed, size * sizeof(*closed));

		if (!closed) {
			forget_count(p);
			return;
		}
		p->closed = closed;
		p->closed_size = size;
	}
	uuid_text(p->closed[p->closed_count].id, &sub->subscriber.reader.connection_id);
	p->closed[p->closed_count++].topic_id = sub->record.topic_id;
	soon(p);
}

void presence_closed(struct presence *p, struct subscription *sub)
{
	if (!sub->record.written_down)
		return;
	sub->record.written_down = false;
	TAILQ_REMOVE(&p->written, sub, record.link);
	change_present(p, sub->record.topic_id, -1);
	presence_erase(p, sub);
}

void presence_uncount(struct presence *p, struct subscription *sub, int64_t topic_id)
{
	if (sub->record.written_down) {
		presence_closed(p, sub);
		return;
	}
	sub->record.topic_id = topic_id;
	change_present(p, topic_id, 0);
	presence_erase(p, sub);
}

void presence_delivered(struct presence *p, const struct hub_topic *t)
{
	deliveries_add(&p->deliveries, t);
	soon(p);
}

void presence_sent(struct presence *p, const struct hub_topic *t, uint64_t seq)
{
	/* It would not be written: presence_renew() forgets it. */
	if (!pipeline_is_up(p->node->db.queries))
		return;
	deliveries_add_private(&p->deliveries, t, seq);
	soon(p);
}

void presence_confirmed(struct presence *p, const struct subscription *sub, uint64_t seq)
{
	if (!pipeline_is_up(p->node->db.queries))
		return;
	deliveries_add_device(&p->deliveries, sub, seq);
	soon(p);
}

/*
 * Rows of subscriptions that ended between the database's look at this node and its answer: a call that is on its way may write
 * them yet, though `written` does not have them any more. So the deletions are kept: `closed`, and counts of topics that are 0.
 */
void presence_renew(struct presence *p)
{
	struct subscription *sub;
	struct topic_presence *tp;
	struct hub_topic *t;

	subscription_array_release(&p->opened);
	for (tp = p->present; tp; tp = tp->hh.next) {
		tp->clients = 0;
		tp->changed = true;
	}
	p->changed = HASH_COUNT(p->present);
	/* What has gathered may be of a numbering that is not the database's. */
	deliveries_forget(&p->deliveries);
	p->doubted = false;
	TAILQ_FOREACH (sub, &p->written, record.link) {
		if (subscription_array_add(&p->opened, sub))
			change_present(p, sub->record.topic_id, 1);
		else
			p->doubted = true;
	}
	for (t = hub_first(p->node->fanout.hub); t; t = hub_next(t)) {
		if (t->delivered_seq > 0)
			presence_delivered(p, t);
	}
	presence_flush(p);
}

static void on_written(void *context, enum err e)
{
	struct writing *w = context;
	struct presence *p = w->presence;

	p->under_way--;
	p->refused = e != OK;
	for (size_t i = 0; i < w->opened.count; i++) {
		struct subscription *sub = w->opened.items[i];

		if (!session_awaits(sub, SUBSCRIPTION_COUNTING))
			continue;
		if (e == OK)
			subscription_step(sub, STEP_WRITTEN, NULL);
		else
			session_close(sub->session, CLOSE_TRY_LATER, "try again later");
	}
	subscription_array_release(&w->opened);
	free(w);
	if (e != OK) {
		p->doubted = true;
		return;
	}
	if (p->opened.count > 0)
		presence_flush(p);
	else if (p->changed > 0 || p->closed_count > 0 || !deliveries_are_none(&p->deliveries))
		soon(p);
}

static void take_presence(struct flush *f, struct presence *p)
{
	struct topic_presence *tp, *next;

	HASH_ITER (hh, p->present, tp, next) {
		if (!tp->changed)
			continue;
		f->presence_topics[f->presence_count] = tp->topic_id;
		f->presence_clients[f->presence_count++] = tp->clients;
		tp->changed = false;
		tp->told = p->calls;
		if (tp->clients == 0) {
			p->told_none = p->calls;
			HASH_DEL(p->present, tp);
			free(tp);
		}
	}
	p->changed = 0;
}

void presence_flush(struct presence *p)
{
	struct flush_columns c = {0};
	struct flush_room room = {
		.presence = p->changed,
		.opened = p->opened.count,
		.closed = p->closed_count,
		.delivered = deliveries_topics(&p->deliveries),
		.sent = deliveries_private(&p->deliveries),
		.devices = deliveries_devices(&p->deliveries),
	};
	struct writing *w;
	enum err e;

	/* Counts that the database may have wrong are not built on. */
	if (!pipeline_is_up(p->node->db.queries) || p->doubted)
		return;
	if (p->changed == 0 && p->opened.count == 0 && p->closed_count == 0 && deliveries_are_none(&p->deliveries) &&
	    !(p->refused && p->under_way == 0))
		return;
	uv_timer_stop(&p->timer);
	p->timer_set = false;
	w = calloc(1, sizeof(*w));
	if (!w || !flush_columns_new(&c, &room)) {
		log_error("no memory to write down who is connected");
		free(w);
		flush_columns_free(&c);
		soon(p);
		return;
	}
	p->calls++;
	c.flush.opened_ever = (int64_t)p->node->sessions.opened;
	take_presence(&c.flush, p);
	/* Of those that are gone already, the closing is in the same call or was in one before. */
	for (size_t i = 0; i < p->opened.count; i++)
		if (p->opened.items[i]->record.written_down)
			flush_columns_add_opened(&c, p->opened.items[i]);
	for (size_t i = 0; i < p->closed_count; i++)
		flush_columns_add_closed(&c, p->closed[i].id, p->closed[i].topic_id);
	deliveries_take(&p->deliveries, &c.flush);

	w->presence = p;
	w->opened = p->opened;
	p->opened = (struct subscription_array){0};
	p->under_way++;
	p->written_ms = clock_monotonic_ms();

	e = sql_flush(p->node->db.queries, p->node->id_text, &c.flush, on_written, w);
	p->closed_count = 0;
	deliveries_forget(&p->deliveries);
	flush_columns_free(&c);
	if (e != OK)
		on_written(w, e);
}
