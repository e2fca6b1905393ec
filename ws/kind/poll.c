#include "ws/kind/poll.h"

#include "ws/deliver/page.h"
#include "ws/encode/encode_cache.h"
#include "ws/encode/encode_poll.h"
#include "ws/identity/session_audit.h"
#include "ws/kind/stream.h"
#include "ws/metrics/node_metrics.h"
#include "ws/session/poll_session.h"
#include "ws/session/session_output.h"
#include "ws/subscribe/arrival.h"
#include "ws/subscribe/parked_polls.h"

#define POLL_BYTES 262144 /* of messages in a reply, from when on it goes out */
#define PAGE_WAIT_MS 5000 /* that a poll waits, beyond its time, for a page of what it missed */

/* ---- beginning and end */

static void begin(struct session *s, const struct arrival *a)
{
	poll_session_of(s)->timeout_ms = s->times.opened_ms + a->timeout_s * 1000;
	arrival_let_in(s, a);
}

/* What the tail does not have yet comes soon; a poll that cannot wait for it asks the database. */
static bool may_go_on(struct session *s)
{
	if (s->state != SESSION_OPEN || s->times.opened_ms >= poll_session_of(s)->timeout_ms)
		return false;
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (!subscription_can_resume(s->subscriptions.items[i], s->times.opened_ms))
			return false;
	return true;
}

static bool resume(struct session *s, bool *goes_on)
{
	if (!parked_polls_take(s->node->parked_polls, s))
		return false;
	*goes_on = may_go_on(s);
	for (unsigned i = 0; *goes_on && i < s->subscriptions.count; i++)
		subscription_step(s->subscriptions.items[i], STEP_RESUMED, NULL);
	return true;
}

/*
 * A poller that has got what there was, or that there is nothing. Not one that waits for a page: its subscription is in
 * a queue of backfill's, and the next poll would put it into the authorizer's as well.
 */
static bool will_be_back(const struct session *s)
{
	return s->greeted && !s->subscriptions.asking && !s->end.forgets_place && !s->outlet.broken &&
	       s->node->phase < NODE_DRAINING && (s->end.code == 0 || s->end.code == CLOSE_NORMAL);
}

static bool park(struct session *s)
{
	return will_be_back(s) && parked_polls_park(s->node->parked_polls, s);
}

/* ---- what it is given */

static bool counted(struct subscription *sub)
{
	/* One that is asked for anew now and then has been there all the time. */
	if (!sub->record.audited)
		session_audit_subscribe(sub->session, subscription_topic(sub), "ok");
	sub->record.audited = true;
	return true;
}

static void reply(struct session *s)
{
	struct buf bytes = BUF_EMPTY;

	encode_poll_reply(&bytes, s, (struct span){0});
	session_finish(s, &bytes);
}

/* A page waits for the reply, with a mark for each message: they may expire meanwhile. */
static void page(struct subscription *sub, struct page *page)
{
	const struct mark *marks = (const struct mark *)(const void *)page->marks.bytes;
	struct session *s = sub->session;
	size_t begin;

	if (s->outlet.held.len > 0)
		buf_add_text(&s->outlet.held, ",");
	begin = s->outlet.held.len;
	buf_add(&s->outlet.held, page->bytes.bytes, page->bytes.len);
	for (size_t i = 0; i < page->marks.len / sizeof(*marks); i++) {
		struct mark mark = marks[i];

		if (mark.held_end > 0)
			mark.held_end += begin;
		session_add_mark(s, &mark);
	}
	if (!buf_ok(&page->bytes) || !buf_ok(&s->outlet.marks))
		s->outlet.held.failed = true;
	session_charge(s);
	/* Where there is no room for more, what there is goes out; the next poll asks for the rest. */
	if (!buf_ok(&s->outlet.held))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	else if (s->outlet.held.len >= POLL_BYTES || !budget_has_room(&s->node->budget, POLL_BYTES))
		reply(s);
}

/* With a cursor for each topic, or its device's, a poll may wait; else it takes what there is. */
static bool may_wait(struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (s->subscriptions.items[i]->at.resumed_by == RESUMED_BY_QUEUE ||
		    !s->subscriptions.items[i]->at.recovered)
			return false;
	return s->outlet.held.len == 0 && clock_monotonic_ms() < poll_session_of(s)->timeout_ms;
}

/* A topic has been looked at: the poll is answered when all are, or waits. */
static void caught_up(struct subscription *sub)
{
	struct session *s = sub->session;
	struct poll_session *p = poll_session_of(s);

	if (p->waiting && s->outlet.held.len == 0) {
		subscription_step(sub, STEP_JOINED, NULL);
		return;
	}
	if (!p->waiting && !session_all_are(s, SUBSCRIPTION_CAUGHT_UP))
		return;
	if (!may_wait(s)) {
		reply(s);
		return;
	}
	p->waiting = true;
	/* One that has ended goes on no more. */
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (session_awaits(s->subscriptions.items[i], SUBSCRIPTION_CAUGHT_UP))
			subscription_step(s->subscriptions.items[i], STEP_JOINED, NULL);
}

static enum hub_written deliver(struct subscription *sub, struct span frames, const struct mark *mark)
{
	struct session *s = sub->session;
	struct span bytes = encode_cache_bytes(s->node->fanout.reply_cache, sub, frames);

	if (bytes.bytes)
		return session_finish_now(s, bytes, mark);
	s->outlet.held.failed = true;
	session_close(s, CLOSE_TRY_LATER, "try again later");
	return HUB_KEPT;
}

/* ---- when it is answered with what there is */

/* One that is not let in yet, or waits for a page of what it missed, has a little longer. */
static int64_t due_ms(const struct session *s, int64_t now_ms)
{
	const struct poll_session *p = (const struct poll_session *)s;

	return p->timeout_ms + (p->waiting || now_ms < p->timeout_ms ? 0 : PAGE_WAIT_MS);
}

static void due(struct session *s, int64_t now_ms)
{
	(void)now_ms;
	session_close(s, CLOSE_NORMAL, s->greeted ? "" : "try again later");
}

const struct session_kind kind_poll = {
	.transport = CLIENT_LONG_POLL,
	.encoder = &encoder_poll,
	.size = sizeof(struct poll_session),
	.is.cursor_confirms = true,
	.begin = begin,
	.resume = resume,
	.refused = stream_refused,
	.counted = counted,
	.page = page,
	.caught_up = caught_up,
	.deliver = deliver,
	.due_ms = due_ms,
	.due = due,
	.park = park,
};
