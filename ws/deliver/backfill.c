#include "ws/deliver/backfill.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "store/sidecar/sql_fetch.h"
#include "ws/deliver/page.h"
#include "ws/deliver/presence.h"
#include "ws/session/session_output.h"

#define UNDER_WAY_MAX 8 /* pages */
/* PAGE_BYTES where there is no room for such a page: hardly more than a socket that is empty takes at once. */
#define PAGE_BYTES_SHORT 16384

/* A page that is waited for: by all who are at the same place. */
struct page_request {
	UT_hash_handle hh; /* by place; not when it is for one user alone */
	STAILQ_ENTRY(page_request) next;
	struct backfill *backfill;
	struct place_key {
		uint64_t serial; /* of the topic */
		int64_t after;
	} place;
	int64_t topic_id;
	char epoch[EPOCH_MAX + 1];
	struct subscription_queue asking; /* each with a reference */
	bool unsent;			  /* of messages for the user of the one who asks */
	size_t reserved;		  /* bytes, while it is under way */
};

struct backfill {
	struct node *node;
	struct page_request *by_place; /* waiting or under way */
	STAILQ_HEAD(, page_request) waiting;
	const struct fetch_page *lent; /* borrowed: backfill_lend() */
	size_t lent_count;
	unsigned under_way;
	bool starting; /* start_waiting() is at it */
};

enum err backfill_new(struct backfill **b, struct node *n)
{
	*b = calloc(1, sizeof(**b));
	if (!*b)
		return ERR_MEMORY;
	(*b)->node = n;
	STAILQ_INIT(&(*b)->waiting);
	return OK;
}

/* Nobody asks for this any more. */
static void request_free(struct page_request *r)
{
	subscription_queue_clear(&r->asking);
	if (!r->unsent)
		HASH_DEL(r->backfill->by_place, r);
	free(r);
}

void backfill_free(struct backfill **b)
{
	struct page_request *r;

	if (!*b)
		return;
	while ((r = STAILQ_FIRST(&(*b)->waiting))) {
		STAILQ_REMOVE_HEAD(&(*b)->waiting, next);
		request_free(r);
	}
	free(*b);
	*b = NULL;
}

static void on_page(void *context, enum err e, const struct fetch_row *rows, size_t count);
static void finish_request(struct page_request *r, enum err e, const struct fetch_row *rows, size_t count);

static enum err send_request(struct page_request *r, size_t bytes)
{
	struct node *n = r->backfill->node;
	const struct subscription *sub = STAILQ_FIRST(&r->asking);
	const char *epoch = r->epoch;

	if (r->unsent) {
		/* Before it, on the same connection: so that what has been sent is not found again. */
		presence_flush(n->fanout.presence);
		return sql_unsent(n->db.queries,
				  &(struct unsent){
					  .topic_id = r->topic_id,
					  .user_id = sub->subscriber.reader.user_id,
					  .after = sub->unsent.after,
					  .up_to = sub->unsent.up_to,
				  },
				  PAGE_ROWS, (int64_t)bytes, on_page, r);
	}
	return sql_fetch(n->db.fetches, &r->topic_id, &r->place.after, &epoch, 1, PAGE_ROWS, (int64_t)bytes, on_page,
			 r);
}

static bool is_awaited(const struct page_request *r)
{
	const struct subscription *sub;

	STAILQ_FOREACH (sub, &r->asking, queue)
		if (session_awaits(sub, SUBSCRIPTION_CATCHING))
			return true;
	return false;
}

/* Bytes of the next page. Nobody waits for room: a short page finds it in the socket. */
static size_t page_bytes(const struct backfill *b)
{
	return session_make_room(b->node, PAGE_BYTES + MESSAGE_MAX) ? PAGE_BYTES : PAGE_BYTES_SHORT;
}

static void start(struct page_request *r, size_t bytes)
{
	enum err e;

	r->backfill->under_way++;
	r->reserved = bytes + MESSAGE_MAX;
	budget_reserve(&r->backfill->node->budget, r->reserved);
	e = send_request(r, bytes);
	if (e != OK)
		finish_request(r, e, NULL, 0);
}

static void start_waiting(struct backfill *b)
{
	struct page_request *r;

	/* Whoever asks meanwhile is served by the loop that runs. */
	if (b->starting)
		return;
	b->starting = true;
	while (b->under_way < UNDER_WAY_MAX && (r = STAILQ_FIRST(&b->waiting))) {
		size_t bytes = page_bytes(b);

		/* Even short ones wait for those under way where that is too much. */
		if (b->under_way > 0 && !budget_fits(&b->node->budget, bytes + MESSAGE_MAX))
			break;
		STAILQ_REMOVE_HEAD(&b->waiting, next);
		if (is_awaited(r))
			start(r, bytes);
		else
			request_free(r);
	}
	b->starting = false;
}

/* An answer that is shorter than it might be was the last. */
static bool is_full(size_t asked_bytes, const struct fetch_row *rows, size_t count)
{
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++)
		bytes += rows[i].message.body.len;
	return count >= PAGE_ROWS || bytes >= asked_bytes;
}

/*
 * What is newer is for another page, or comes by way of the tail: in its turn with the ends of rights, and, if it was not
 * there when this client was told that it is connected, not as something that was missed.
 */
static uint64_t newest_of_page(const struct subscription *sub)
{
	return sub->at.welcomed ? MAX(tail_seq(sub->subscriber.topic->tail), sub->at.known_seq) : sub->at.missed_seq;
}

/* A page of what the database has answered, as much of it as there is room for. */
static void take_page(struct backfill *b, struct subscription *sub, size_t asked_bytes, const struct fetch_row *rows,
		      size_t count)
{
	struct page page = {.subscription = sub};
	uint64_t newest = newest_of_page(sub), reached = sub->subscriber.seq;
	size_t most = page_bytes(b), i;
	bool more;

	if (!session_awaits(sub, SUBSCRIPTION_CATCHING))
		return;
	if (!sub->unsent.waits && (count == 0 || rows[0].message.seq != sub->subscriber.seq + 1)) {
		/* Gone from the database too: by its cursor it will be told so when it comes back. */
		session_close(sub->session, CLOSE_TRY_LATER, "too far behind: reconnect with a cursor");
		count = 0;
	}
	for (i = 0; i < count && rows[i].message.seq <= newest && page.bytes.len < most; i++) {
		page_add_stored(&page, &rows[i].message);
		reached = MAX(reached, rows[i].message.seq);
	}
	more = i < count && rows[i].message.seq <= newest;
	if (sub->unsent.waits) {
		sub->unsent.waits = more || is_full(asked_bytes, rows, count);
		sub->unsent.after = more	? rows[i - 1].message.seq
				    : count > 0 ? rows[count - 1].message.seq
						: sub->unsent.up_to;
	}
	page_send(&page, reached);
}

/* Retired since: that the database has another epoch is known. */
static bool is_stale(const struct page_request *r)
{
	const struct hub_topic *t = hub_find(r->backfill->node->fanout.hub, r->topic_id);

	return !t || strcmp(t->epoch, r->epoch) != 0;
}

static void finish_request(struct page_request *r, enum err e, const struct fetch_row *rows, size_t count)
{
	struct backfill *b = r->backfill;
	struct subscription_queue asking = STAILQ_HEAD_INITIALIZER(asking);
	size_t asked_bytes = r->reserved - MESSAGE_MAX;
	struct subscription *sub;

	budget_release(&b->node->budget, r->reserved);
	b->under_way--;
	if (e == OK && count > 0 && rows[0].other_epoch) {
		e = ERR_CONFLICT;
		if (!is_stale(r))
			agreement_differs(&b->node->db.agreement);
	}
	/* Whoever asks from now on asks anew. */
	STAILQ_CONCAT(&asking, &r->asking);
	request_free(r);
	while ((sub = STAILQ_FIRST(&asking))) {
		STAILQ_REMOVE_HEAD(&asking, queue);
		sub->asking = false;
		if (sub->session)
			sub->session->subscriptions.asking = false;
		if (session_awaits(sub, SUBSCRIPTION_CATCHING)) {
			if (e == OK)
				take_page(b, sub, asked_bytes, rows, count);
			else if (e == ERR_CONFLICT)
				session_close(sub->session, CLOSE_RESTART, "reconnect");
			else
				session_close(sub->session, CLOSE_TRY_LATER, "try again later");
			backfill_go_on(b, sub->session);
		}
		subscription_unref(sub);
	}
}

static void on_page(void *context, enum err e, const struct fetch_row *rows, size_t count)
{
	struct page_request *r = context;
	struct backfill *b = r->backfill;

	finish_request(r, e, rows, count);
	start_waiting(b);
}

/* NULL: no memory. */
static struct page_request *request_new(struct backfill *b, const struct place_key *place, const struct hub_topic *t,
					bool unsent)
{
	struct page_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->backfill = b;
	r->place = *place;
	r->topic_id = t->id;
	memcpy(r->epoch, t->epoch, sizeof(r->epoch));
	r->unsent = unsent;
	STAILQ_INIT(&r->asking);
	if (!unsent) {
		HASH_ADD(hh, b->by_place, place, sizeof(r->place), r);
		if (!HASH_HAS(hh, r)) {
			free(r);
			return NULL;
		}
	}
	STAILQ_INSERT_TAIL(&b->waiting, r, next);
	return r;
}

static void ask(struct backfill *b, struct subscription *sub)
{
	struct session *s = sub->session;
	const struct hub_topic *t = sub->subscriber.topic;
	struct place_key place = {t->serial, (int64_t)sub->subscriber.seq};
	struct page_request *r = NULL;

	if (!sub->unsent.waits)
		HASH_FIND(hh, b->by_place, &place, sizeof(place), r);
	if (!r)
		r = request_new(b, &place, t, sub->unsent.waits);
	if (!r) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	sub->asking = s->subscriptions.asking = true;
	if (s->times.asked_ms == 0) {
		s->times.asked_ms = clock_monotonic_ms();
		session_set_deadline(s, s->times.asked_ms);
	}
	subscription_ref(sub);
	STAILQ_INSERT_TAIL(&r->asking, sub, queue);
	start_waiting(b);
}

static void page_from_tail(struct backfill *b, struct subscription *sub)
{
	const struct tail *t = sub->subscriber.topic->tail;
	struct page page = {.subscription = sub};
	uint64_t seq = sub->subscriber.seq, newest = MIN(tail_seq(t), newest_of_page(sub));
	int64_t now_ms = clock_monotonic_ms();
	size_t most = page_bytes(b);

	if (!session_awaits(sub, SUBSCRIPTION_CATCHING))
		return;
	while (seq < newest && page.bytes.len < most && page.count < PAGE_ROWS) {
		struct tail_text message = tail_message(t, ++seq, &sub->subscriber.reader, now_ms);

		if (message.withheld)
			subscriber_withhold(&sub->subscriber, seq, seq);
		if (message.text.len > 0)
			page_add(&page, seq, &message);
	}
	page_send(&page, seq);
}

/* The tail does not have the next message: it was dropped, or has not been fetched yet. */
static bool needs_page(const struct subscription *sub)
{
	const struct tail *t = sub->subscriber.topic->tail;

	return sub->subscriber.seq < tail_floor(t) ||
	       (sub->subscriber.seq < sub->at.known_seq && tail_seq(t) < sub->at.known_seq);
}

/* Gives it what a lent page has for it. False: none has the next message. */
static bool take_lent(struct backfill *b, struct subscription *sub)
{
	const struct hub_topic *t = sub->subscriber.topic;
	uint64_t seq = sub->subscriber.seq;

	for (size_t i = 0; i < b->lent_count && !sub->unsent.waits; i++) {
		const struct fetch_page *p = &b->lent[i];
		uint64_t passed = seq - p->after;

		if (p->topic_id != t->id || seq < p->after || passed >= p->count || strcmp(p->epoch, t->epoch) != 0 ||
		    p->rows[passed].message.seq != seq + 1)
			continue;
		take_page(b, sub, 0, p->rows + passed, p->count - passed);
		return true;
	}
	return false;
}

static void bring_on(struct backfill *b, struct subscription *sub)
{
	struct session *s = sub->session;

	while (!s->subscriptions.asking && session_awaits(sub, SUBSCRIPTION_CATCHING) && session_is_clear(s)) {
		bool missed = !sub->at.welcomed && sub->subscriber.seq < sub->at.missed_seq;

		if (sub->unsent.waits || ((missed || sub->at.welcomed) && needs_page(sub))) {
			if (take_lent(b, sub))
				continue;
			ask(b, sub);
			return;
		}
		s->times.asked_ms = 0;
		if (missed)
			page_from_tail(b, sub);
		else
			subscription_step(sub, STEP_CAUGHT_UP, NULL);
	}
}

void backfill_go_on(struct backfill *b, struct session *s)
{
	/* While a page of one is asked for, the others wait: a socket that drains, or on which a ping was answered,
	 * comes by here meanwhile. */
	for (unsigned i = 0; i < s->subscriptions.count && !s->subscriptions.asking && session_is_clear(s); i++)
		bring_on(b, session_turn(s, i));
}

void backfill_lend(struct backfill *b, const struct fetch_page *pages, size_t count)
{
	b->lent = pages;
	b->lent_count = count;
}
