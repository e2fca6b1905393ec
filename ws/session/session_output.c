#include "ws/session/session_output.h"

#include "ws/metrics/node_metrics.h"

/* Bytes that wait for one socket, a page of what it missed and replies, before it counts as too slow. */
#define PENDING_MAX (1 << 20)
#define CLOSING_MAX 256 /* sessions that are being closed, before those without a user are not waited for */

bool session_is_clear(const struct session *s)
{
	return s->state != SESSION_CLOSING && s->outlet.choked_ms == 0 && s->outlet.out.len == 0;
}

/* ---- what is held for it */

static struct session *session_of(struct holding *h)
{
	return (struct session *)((char *)h - offsetof(struct session, holding));
}

/* Its client is told so, behind what it is reading; one that was told already, and takes nothing still, is cut. */
static void give_up_holding(struct session *s)
{
	const struct node *n = s->node;

	buf_free(&s->in.bytes);
	if (s->in.early.len > 0)
		s->end.keep_alive = false;
	buf_free(&s->in.early);
	if (s->state != SESSION_CLOSING) {
		session_log(s, LOG_INFO_,
			    "closing a client: too many bytes are held for clients bytes=%zu all=%zu transport=%s",
			    s->holding.bytes, n->budget.bytes, session_transport(s));
		/* It is sent again to whoever resumes, or waits for its topic's next client. */
		outlet_drop_unbegun(&s->outlet);
		if (s->outlet.out.len > 0)
			session_close_slow(s);
		else
			session_close(s, CLOSE_TRY_LATER, "try again later");
	} else {
		outlet_abandon(&s->outlet);
		session_set_deadline(s, clock_monotonic_ms());
	}
	budget_hold(&s->node->budget, &s->holding, session_held_bytes(s), clock_monotonic_ms());
	budget_taken(&s->node->budget, &s->holding, clock_monotonic_ms());
}

void session_charge(struct session *s)
{
	struct budget *b = &s->node->budget;
	size_t bytes = session_held_bytes(s);
	int64_t now_ms;

	if (bytes == s->holding.bytes)
		return;
	now_ms = clock_monotonic_ms();
	budget_hold(b, &s->holding, bytes, now_ms);
	while (budget_is_over(b)) {
		struct holding *h = budget_largest_idle(b, now_ms);

		if (!h)
			h = budget_largest(b);
		if (!h)
			return;
		give_up_holding(session_of(h));
	}
}

bool session_make_room(struct node *n, size_t bytes)
{
	int64_t now_ms = clock_monotonic_ms();
	struct holding *h;

	while (!budget_has_room(&n->budget, bytes)) {
		h = budget_largest_idle(&n->budget, now_ms);
		if (!h)
			return false;
		give_up_holding(session_of(h));
	}
	return true;
}

static void note_taken(struct session *s, int64_t now_ms)
{
	s->times.taken_ms = now_ms;
	budget_taken(&s->node->budget, &s->holding, now_ms);
}

void session_look(struct session *s, int64_t now_ms)
{
	if (outlet_look(&s->outlet, now_ms))
		note_taken(s, now_ms);
}

/* ---- what a write leaves behind */

/* Its socket takes no more: the hub leaves all of its subscriptions alone. */
static void hush(struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		hub_wait(s->node->fanout.hub, &s->subscriptions.items[i]->subscriber);
}

void session_add_mark(struct session *s, const struct mark *mark)
{
	buf_add(&s->outlet.marks, mark, sizeof(*mark));
}

/* The topic as the session has it: another that was made under its id meanwhile is numbered anew. NULL: it has not. */
static struct hub_topic *topic_of(const struct session *s, int64_t id)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (subscription_topic_id(s->subscriptions.items[i]) == id)
			return s->subscriptions.items[i]->subscriber.topic;
	return NULL;
}

static void settle(struct session *s)
{
	const struct mark *marks = (const struct mark *)(const void *)s->outlet.marks.bytes;

	if (!outlet_all_has_left(&s->outlet))
		return;
	for (size_t i = 0; i < s->outlet.marks.len / sizeof(*marks); i++) {
		struct hub_topic *t = topic_of(s, marks[i].topic_id);

		if (t)
			hub_delivered(s->node->fanout.hub, t, marks[i].seq, marks[i].private_seq);
	}
	buf_free(&s->outlet.marks);
}

/* Bytes that the socket has taken since it had taken so many. */
static void count_sent(const struct session *s, int64_t given_bytes)
{
	metrics_add(&s->node->metrics, METRIC_SENT_BYTES, 0, 0, s->outlet.given_bytes - given_bytes);
}

/* One that is broken is shut by the next tick: never inside a callback or the fan-out. */
static void note_choked(struct session *s)
{
	if (s->outlet.choked_ms != 0)
		session_set_deadline(s, clock_monotonic_ms());
}

static void pump(struct session *s, bool fresh)
{
	int64_t given_bytes = s->outlet.given_bytes;

	outlet_pump(&s->outlet, fresh);
	count_sent(s, given_bytes);
	note_choked(s);
	session_charge(s);
	settle(s);
}

/* ---- writing */

enum hub_written session_write_now(struct session *s, struct span bytes, const struct mark *mark)
{
	int64_t given_bytes = s->outlet.given_bytes;

	if (s->state == SESSION_CLOSING)
		return HUB_KEPT;
	outlet_write(&s->outlet, bytes);
	count_sent(s, given_bytes);
	if (s->outlet.choked_ms == 0)
		return HUB_SENT;
	note_choked(s);
	session_charge(s);
	/* Given up: nobody will say that it has left. */
	if (s->state == SESSION_CLOSING)
		return HUB_KEPT;
	session_add_mark(s, mark);
	hush(s);
	return HUB_KEPT;
}

static void count_delivery(const struct session *s, const struct delivery *d)
{
	const struct metrics *m = &s->node->metrics;

	metrics_add(m, METRIC_DELIVERIES, s->kind->transport, 0, d->count);
	metrics_add(m, METRIC_DELIVERY_WRITES, 0, 0, 1);
	metrics_add(m, METRIC_DELIVERED_BYTES, 0, 0, (int64_t)d->bytes.len);
	if (d->age_ms >= 0)
		metrics_observe(m, METRIC_DELIVERY_DELAY, 0, 0, d->age_ms * 1000, d->count);
}

enum hub_written session_deliver(void *node, struct subscriber *subscriber, const struct delivery *d)
{
	struct subscription *sub = subscription_of(subscriber);
	struct session *s = sub->session;
	struct mark mark = {.topic_id = subscriber->topic->id,
			    .seq = subscriber_delivers(subscriber, d->last),
			    .private_seq = d->private ? d->last : 0};
	enum hub_written written =
		s->kind->deliver ? s->kind->deliver(sub, d->bytes, &mark) : session_write_now(s, d->bytes, &mark);

	(void)node;
	count_delivery(s, d);
	session_given(sub);
	if (written != HUB_SENT)
		session_pass_turn(s, sub);
	return written;
}

/*
 * The session's memory is fetched into the CPU's cache, and so is the address of the next one's: with thousands of subscribers
 * neither is there yet when its turn comes.
 */
void session_deliver_soon(void *node, struct subscriber *subscriber)
{
	const struct session *s = subscription_of(subscriber)->session;
	struct subscriber *after = TAILQ_NEXT(subscriber, link);

	(void)node;
	__builtin_prefetch(&s->outlet);
	__builtin_prefetch(&s->kind);
	if (after) {
		__builtin_prefetch(after);
		__builtin_prefetch(&subscription_of(after)->session);
	}
}

void session_write(struct session *s, struct buf *bytes)
{
	struct outlet *o = &s->outlet;
	bool fresh;

	if (s->state == SESSION_CLOSING) {
		buf_free(bytes);
		return;
	}
	/* Of a message that found no memory there may be a part, or a header alone. */
	if (!buf_ok(bytes)) {
		buf_free(bytes);
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	fresh = outlet_add(o, bytes);
	if (!fresh && o->out.len - o->at > PENDING_MAX) {
		session_close_slow(s);
		return;
	}
	if (!buf_ok(&o->out)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	pump(s, fresh);
	if (!session_is_clear(s))
		hush(s);
}

static void tell(struct buf *to, const struct session *s, const struct buf *text)
{
	s->kind->encoder->reply(to, (struct span){text->bytes, text->len});
	if (!buf_ok(text))
		to->failed = true;
}

void session_send(struct session *s, const struct buf *text)
{
	struct buf frame = BUF_EMPTY;

	tell(&frame, s, text);
	session_write(s, &frame);
}

void session_hold(struct session *s, const struct buf *text)
{
	tell(&s->outlet.held, s, text);
	if (!buf_ok(&s->outlet.held))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	session_charge(s);
}

void session_send_held(struct session *s)
{
	if (s->outlet.held.len > 0)
		session_write(s, &s->outlet.held);
}

/* Many without a user come only to be sent away: they would be as many as may be closing, and nobody else would be served. */
static bool is_waited_for(const struct session *s)
{
	return s->user || s->node->sessions.closing_count <= CLOSING_MAX;
}

/* Now the client has its time to take it, and to answer. */
static void say_goodbye(struct session *s)
{
	s->kind->encoder->goodbye(&s->outlet.out, s);
	outlet_end(&s->outlet);
	pump(s, false);
	if (s->kind->is.duplex && outlet_all_has_left(&s->outlet) && !is_waited_for(s))
		s->outlet.transport->shut(s->outlet.socket);
}

bool session_drained(struct session *s)
{
	struct outlet *o = &s->outlet;
	int64_t choked_ms = o->choked_ms, left = o->left_bytes, now_ms = clock_monotonic_ms();
	enum session_state state = s->state;

	o->choked_ms = 0;
	pump(s, false);
	if (o->choked_ms != 0 && choked_ms != 0 && s->state == state) {
		o->choked_ms = choked_ms;
		o->left_bytes = left;
		session_look(s, now_ms);
	} else if (o->choked_ms == 0 && choked_ms != 0) {
		note_taken(s, now_ms);
	}
	if (s->state == SESSION_CLOSING) {
		if (!o->ended && o->out.len == 0)
			say_goodbye(s);
		session_set_deadline(s, now_ms);
	} else if (choked_ms != 0) {
		session_set_deadline(s, now_ms);
	}
	return outlet_is_clear(o);
}

bool session_is_over(const struct session *s)
{
	return s->outlet.ended && outlet_all_has_left(&s->outlet);
}

/* ---- the last bytes */

void session_finish(struct session *s, struct buf *bytes)
{
	if (s->state != SESSION_CLOSING) {
		s->outlet.out = *bytes;
		*bytes = BUF_EMPTY;
		outlet_end(&s->outlet);
		session_begin_closing(s);
		session_charge(s);
	}
	buf_free(bytes);
}

enum hub_written session_finish_now(struct session *s, struct span bytes, const struct mark *mark)
{
	int64_t given_bytes = s->outlet.given_bytes;

	if (s->state == SESSION_CLOSING)
		return HUB_KEPT;
	session_begin_closing(s);
	outlet_end(&s->outlet);
	outlet_write(&s->outlet, bytes);
	count_sent(s, given_bytes);
	note_choked(s);
	session_charge(s);
	settle(s);
	if (outlet_all_has_left(&s->outlet))
		return HUB_SENT_LAST;
	session_add_mark(s, mark);
	return HUB_KEPT;
}
