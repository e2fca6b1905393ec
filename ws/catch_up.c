#include "ws/catch_up.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "domain/message.h"
#include "store/calls.h"
#include "ws/ledger.h"

#define PAGE_ROWS 500
#define UNDER_WAY_MAX 8	   /* pages */
#define MESSAGE_MAX 262144 /* bytes of a message's body: a page's last may begin where it is nearly full */

/* Bytes of messages in a page, from when on it is full: well under the 1 MiB that many clients take in one message. */
#define PAGE_BYTES 262144
/* The same where there is no room for such a page: hardly more than a socket that is empty takes at once. */
#define PAGE_BYTES_SHORT 16384

/* A page that is waited for: by all who are at the same place. */
struct page_request {
	UT_hash_handle hh; /* by place; not when it is for one user alone */
	STAILQ_ENTRY(page_request) next;
	struct catch_up *catch_up;
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

struct catch_up {
	struct node *node;
	void (*send_page)(struct subscription *sub, struct page *page);
	void (*caught_up)(struct subscription *sub);
	struct page_request *by_place; /* waiting or under way */
	STAILQ_HEAD(, page_request) waiting;
	unsigned under_way;
	bool starting; /* start_waiting() is at it */
};

enum err catch_up_new(struct catch_up **c, struct node *n,
		      void (*send_page)(struct subscription *sub, struct page *page),
		      void (*caught_up)(struct subscription *sub))
{
	*c = calloc(1, sizeof(**c));
	if (!*c)
		return ERR_MEMORY;
	(*c)->node = n;
	(*c)->send_page = send_page;
	(*c)->caught_up = caught_up;
	STAILQ_INIT(&(*c)->waiting);
	return OK;
}

/* Nobody asks for this any more. */
static void request_free(struct page_request *r)
{
	subscription_queue_clear(&r->asking);
	if (!r->unsent)
		HASH_DEL(r->catch_up->by_place, r);
	free(r);
}

void catch_up_free(struct catch_up **c)
{
	struct page_request *r;

	if (!*c)
		return;
	while ((r = STAILQ_FIRST(&(*c)->waiting))) {
		STAILQ_REMOVE_HEAD(&(*c)->waiting, next);
		request_free(r);
	}
	free(*c);
	*c = NULL;
}

/*
 * A page in the making: one reconnect_messages message for who has just come, and plain messages for who was slow.
 */
struct making {
	struct catch_up *catch_up;
	struct subscription *subscription;
	struct page page;
	unsigned count;
};

static void add_mark(struct making *m, const struct mark *mark)
{
	buf_add(&m->page.marks, mark, sizeof(*mark));
	if (!buf_ok(&m->page.marks))
		m->page.bytes.failed = true;
}

static void page_add(struct making *m, uint64_t seq, const struct tail_text *message)
{
	struct subscription *sub = m->subscription;
	const struct voice *voice = sub->session->voice;
	struct buf *bytes = &m->page.bytes;

	if (sub->welcomed) {
		voice->message(bytes, sub, message->text);
	} else {
		if (m->count == 0)
			voice->missed_begin(bytes, sub);
		voice->missed_add(bytes, sub, m->count == 0, message->text);
	}
	m->count++;
	add_mark(m, &(struct mark){.topic_id = sub->subscriber.topic->id,
				   .seq = seq,
				   .private = message->private,
				   .expires_ms = message->expires_ms,
				   .held_end = bytes->len});
}

/* Writes it; the subscription then has everything up to `seq`. */
static void page_send(struct making *m, uint64_t seq)
{
	struct subscription *sub = m->subscription;
	struct page *page = &m->page;

	if (m->count > 0)
		add_mark(m, &(struct mark){.topic_id = sub->subscriber.topic->id, .seq = seq});
	sub->session->asked_ms = 0;
	if (buf_ok(&page->bytes))
		sub->subscriber.seq = MAX(sub->subscriber.seq, seq);
	if (m->count > 0) {
		if (!sub->welcomed)
			sub->session->voice->missed_end(&page->bytes, sub);
		m->catch_up->send_page(sub, page);
	} else if (!buf_ok(&page->bytes)) {
		session_close(sub->session, CLOSE_TRY_LATER, "try again later");
	}
	buf_free(&page->bytes);
	buf_free(&page->marks);
}

static void page_add_stored(struct making *m, const struct stored_message *stored)
{
	const struct reader *reader = &m->subscription->subscriber.reader;
	struct buf text = BUF_EMPTY;

	if (!stored->body.bytes || !reader_may_have(reader, stored->to_user, stored->exclude))
		return;
	message_add(&text, stored->seq, stored->body.bytes, stored->body.len);
	if (buf_ok(&text))
		page_add(m, stored->seq,
			 &(struct tail_text){.text = {text.bytes, text.len},
					     .expires_ms = stored->expires_ms,
					     .private = stored->to_user != NULL});
	else
		m->page.bytes.failed = true;
	buf_free(&text);
}

static void on_page(void *context, enum err e, const struct fetch_row *rows, size_t count);
static void finish_request(struct page_request *r, enum err e, const struct fetch_row *rows, size_t count);

static enum err send_request(struct page_request *r, size_t bytes)
{
	struct node *n = r->catch_up->node;
	const struct subscription *sub = STAILQ_FIRST(&r->asking);
	const char *epoch = r->epoch;

	if (r->unsent) {
		/* Before it, on the same connection: so that what has been sent is not found again. */
		ledger_flush(n->ledger);
		return calls_unsent(n->pipeline,
				    &(struct unsent){
					    .topic_id = r->topic_id,
					    .user_id = sub->subscriber.reader.user_id,
					    .after = sub->unsent_after,
					    .up_to = sub->unsent_up_to,
				    },
				    PAGE_ROWS, (int64_t)bytes, on_page, r);
	}
	return calls_fetch(n->fetches, &r->topic_id, &r->place.after, &epoch, 1, PAGE_ROWS, (int64_t)bytes, on_page, r);
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
static size_t page_bytes(const struct catch_up *c)
{
	return session_make_room(c->node, PAGE_BYTES + MESSAGE_MAX) ? PAGE_BYTES : PAGE_BYTES_SHORT;
}

static void start(struct page_request *r, size_t bytes)
{
	enum err e;

	r->catch_up->under_way++;
	r->reserved = bytes + MESSAGE_MAX;
	budget_reserve(&r->catch_up->node->budget, r->reserved);
	e = send_request(r, bytes);
	if (e != OK)
		finish_request(r, e, NULL, 0);
}

static void start_waiting(struct catch_up *c)
{
	struct page_request *r;

	/* Whoever asks meanwhile is served by the loop that runs. */
	if (c->starting)
		return;
	c->starting = true;
	while (c->under_way < UNDER_WAY_MAX && (r = STAILQ_FIRST(&c->waiting))) {
		size_t bytes = page_bytes(c);

		/* Even short ones wait for those under way where that is too much. */
		if (c->under_way > 0 && !budget_fits(&c->node->budget, bytes + MESSAGE_MAX))
			break;
		STAILQ_REMOVE_HEAD(&c->waiting, next);
		if (is_awaited(r))
			start(r, bytes);
		else
			request_free(r);
	}
	c->starting = false;
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
 * there when this client was greeted, not as something that was missed.
 */
static uint64_t newest_of_page(const struct subscription *sub)
{
	return sub->welcomed ? MAX(tail_seq(sub->subscriber.topic->tail), sub->known_seq) : sub->missed_seq;
}

/* A page of what the database has answered, as much of it as there is room for. */
static void take_page(struct catch_up *c, struct subscription *sub, size_t asked_bytes, const struct fetch_row *rows,
		      size_t count)
{
	struct making page = {.catch_up = c, .subscription = sub};
	uint64_t newest = newest_of_page(sub), reached = sub->subscriber.seq;
	size_t most = page_bytes(c), i;
	bool more;

	if (!session_awaits(sub, SUBSCRIPTION_CATCHING))
		return;
	if (!sub->unsent && (count == 0 || rows[0].message.seq != sub->subscriber.seq + 1)) {
		/* Gone from the database too: by its cursor it will be told so when it comes back. */
		session_close(sub->session, CLOSE_TRY_LATER, "too far behind: reconnect with a cursor");
		count = 0;
	}
	for (i = 0; i < count && rows[i].message.seq <= newest && page.page.bytes.len < most; i++) {
		page_add_stored(&page, &rows[i].message);
		reached = MAX(reached, rows[i].message.seq);
	}
	more = i < count && rows[i].message.seq <= newest;
	if (sub->unsent) {
		sub->unsent = more || is_full(asked_bytes, rows, count);
		sub->unsent_after = more	? rows[i - 1].message.seq
				    : count > 0 ? rows[count - 1].message.seq
						: sub->unsent_up_to;
	}
	page_send(&page, reached);
}

/* Retired since: that the database has another epoch is known. */
static bool is_stale(const struct page_request *r)
{
	const struct hub_topic *t = hub_find(r->catch_up->node->hub, r->topic_id);

	return !t || strcmp(t->epoch, r->epoch) != 0;
}

static void finish_request(struct page_request *r, enum err e, const struct fetch_row *rows, size_t count)
{
	struct catch_up *c = r->catch_up;
	struct subscription_queue asking = STAILQ_HEAD_INITIALIZER(asking);
	size_t asked_bytes = r->reserved - MESSAGE_MAX;
	struct subscription *sub;

	budget_release(&c->node->budget, r->reserved);
	c->under_way--;
	if (e == OK && count > 0 && rows[0].other_epoch) {
		e = ERR_CONFLICT;
		if (!is_stale(r))
			agreement_differs(&c->node->agreement);
	}
	/* Whoever asks from now on asks anew. */
	STAILQ_CONCAT(&asking, &r->asking);
	request_free(r);
	while ((sub = STAILQ_FIRST(&asking))) {
		STAILQ_REMOVE_HEAD(&asking, queue);
		sub->asking = false;
		if (sub->session)
			sub->session->asking = false;
		if (session_awaits(sub, SUBSCRIPTION_CATCHING)) {
			if (e == OK)
				take_page(c, sub, asked_bytes, rows, count);
			else if (e == ERR_CONFLICT)
				session_close(sub->session, CLOSE_RESTART, "reconnect");
			else
				session_close(sub->session, CLOSE_TRY_LATER, "try again later");
			catch_up_go_on(c, sub->session);
		}
		subscription_unref(sub);
	}
}

static void on_page(void *context, enum err e, const struct fetch_row *rows, size_t count)
{
	struct page_request *r = context;
	struct catch_up *c = r->catch_up;

	finish_request(r, e, rows, count);
	start_waiting(c);
}

/* NULL: no memory. */
static struct page_request *request_new(struct catch_up *c, const struct place_key *place, const struct hub_topic *t,
					bool unsent)
{
	struct page_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->catch_up = c;
	r->place = *place;
	r->topic_id = t->id;
	memcpy(r->epoch, t->epoch, sizeof(r->epoch));
	r->unsent = unsent;
	STAILQ_INIT(&r->asking);
	if (!unsent) {
		HASH_ADD(hh, c->by_place, place, sizeof(r->place), r);
		if (!HASH_HAS(hh, r)) {
			free(r);
			return NULL;
		}
	}
	STAILQ_INSERT_TAIL(&c->waiting, r, next);
	return r;
}

static void ask(struct catch_up *c, struct subscription *sub)
{
	struct session *s = sub->session;
	const struct hub_topic *t = sub->subscriber.topic;
	struct place_key place = {t->serial, (int64_t)sub->subscriber.seq};
	struct page_request *r = NULL;

	if (!sub->unsent)
		HASH_FIND(hh, c->by_place, &place, sizeof(place), r);
	if (!r)
		r = request_new(c, &place, t, sub->unsent);
	if (!r) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	sub->asking = s->asking = true;
	if (s->asked_ms == 0) {
		s->asked_ms = clock_monotonic_ms();
		session_set_deadline(s, s->asked_ms);
	}
	subscription_ref(sub);
	STAILQ_INSERT_TAIL(&r->asking, sub, queue);
	start_waiting(c);
}

static void page_from_tail(struct catch_up *c, struct subscription *sub)
{
	const struct tail *t = sub->subscriber.topic->tail;
	struct making page = {.catch_up = c, .subscription = sub};
	uint64_t seq = sub->subscriber.seq, newest = MIN(tail_seq(t), newest_of_page(sub));
	int64_t now_ms = clock_monotonic_ms();
	size_t most = page_bytes(c);

	if (!session_awaits(sub, SUBSCRIPTION_CATCHING))
		return;
	while (seq < newest && page.page.bytes.len < most && page.count < PAGE_ROWS) {
		struct tail_text message = tail_message(t, ++seq, &sub->subscriber.reader, now_ms);

		if (message.text.len > 0)
			page_add(&page, seq, &message);
	}
	page_send(&page, seq);
}

/* The tail has not what comes next, any more or yet. */
static bool needs_page(const struct subscription *sub)
{
	const struct tail *t = sub->subscriber.topic->tail;

	return sub->subscriber.seq < tail_floor(t) ||
	       (sub->subscriber.seq < sub->known_seq && tail_seq(t) < sub->known_seq);
}

static void bring_on(struct catch_up *c, struct subscription *sub)
{
	struct session *s = sub->session;

	while (!s->asking && session_awaits(sub, SUBSCRIPTION_CATCHING) && session_is_clear(s)) {
		bool missed = !sub->welcomed && sub->subscriber.seq < sub->missed_seq;

		if (sub->unsent || ((missed || sub->welcomed) && needs_page(sub))) {
			ask(c, sub);
			return;
		}
		s->asked_ms = 0;
		if (missed)
			page_from_tail(c, sub);
		else
			c->caught_up(sub);
	}
}

void catch_up_go_on(struct catch_up *c, struct session *s)
{
	/* While a page of one is asked for, the others wait: a socket that drains, or on which a ping was answered,
	 * comes by here meanwhile. */
	for (unsigned i = 0; i < s->subscriptions_count && !s->asking && session_is_clear(s); i++)
		bring_on(c, session_turn(s, i));
}
