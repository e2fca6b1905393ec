#include "ws/subscribe/subscribe.h"

#include <string.h>

#include "base/log/log.h"
#include "ws/deliver/backfill.h"
#include "ws/deliver/fetcher.h"
#include "ws/deliver/presence.h"
#include "ws/identity/identity.h"
#include "ws/identity/session_audit.h"
#include "ws/metrics/node_metrics.h"
#include "ws/roster/roster_watch.h"
#include "ws/session/session_output.h"
#include "ws/subscribe/authorizer.h"
#include "ws/subscribe/revocation.h"

/* ---- the way of a subscription */

/* False: no memory, or it is here with another numbering. */
static bool hold_topic(struct subscription *sub, const struct attach_row *row)
{
	struct session *s = sub->session;
	struct hub *h = s->node->fanout.hub;
	struct hub_topic *t;
	enum err e = hub_hold(h, &t, row->topic_id, sub->wanted->topic, row->epoch, row->last_seq, row->delivered_seq);

	/* One that was here a moment ago holds it already. */
	if (e == OK && sub->subscriber.topic == t) {
		hub_let_go(h, t);
	} else if (e == OK && sub->subscriber.topic) {
		hub_let_go(h, t);
		e = ERR_CONFLICT;
	}
	if (e == OK) {
		sub->subscriber.topic = t;
		t->confirmed.seq = MAX(t->confirmed.seq, row->confirmed_seq);
		return true;
	}
	/* On a conflict the heartbeat is about to send away those who are on the old one. */
	if (e == ERR_CONFLICT)
		session_close(s, CLOSE_RESTART, "reconnect");
	else
		session_close(s, CLOSE_TRY_LATER, "try again later");
	return false;
}

/* Its state, and whether it is one of those that get what they missed. */
static void move(struct subscription *sub, struct node *n, enum subscription_state state)
{
	metrics_add(&n->metrics, METRIC_CATCH_UP_CLIENTS, 0, 0,
		    (state == SUBSCRIPTION_CATCHING) - (sub->state == SUBSCRIPTION_CATCHING));
	sub->state = state;
}

/* It came with a cursor, or by its device, and goes on from there, or is told what is gone. */
static void count_resume(const struct subscription *sub)
{
	const struct session *s = sub->session;
	const struct metrics *m = &s->node->metrics;

	if (sub->at.resumed_by == RESUMED_BY_QUEUE)
		return;
	metrics_add(m, METRIC_RESUMES, s->kind->transport, sub->at.recovered ? RECOVERED_YES : RECOVERED_NO, 1);
	if (sub->at.missed_to > 0)
		metrics_add(m, METRIC_MISSED_MESSAGES, 0, 0, (int64_t)(sub->at.missed_to - sub->at.missed_from + 1));
}

void subscription_confirm(struct subscription *sub, uint64_t seq)
{
	const struct session *s = sub->session;
	struct presence *p = s->node->fanout.presence;
	struct hub_topic *t = sub->subscriber.topic;

	seq = MIN(seq, sub->subscriber.seq);
	if (!t || t->stale)
		return;
	if (subscriber_confirm(&sub->subscriber, seq))
		presence_delivered(p, t);
	if (seq <= sub->at.confirmed_seq)
		return;
	sub->at.confirmed_seq = seq;
	if (s->user && s->dialog.device[0] != '\0')
		presence_confirmed(p, sub, seq);
}

/* Where its client would not have the cursor without having had what lies before it. */
static void confirm_cursor(struct subscription *sub)
{
	if (sub->at.resumed_by == RESUMED_BY_CURSOR && sub->at.recovered &&
	    (sub->session->kind->is.cursor_confirms || sub->at.cursor_origin == CURSOR_OF_LAST_EVENT))
		subscription_confirm(sub, sub->subscriber.seq);
}

/* It was written down as it was let in, and does not go on. */
static void uncount(struct subscription *sub, const struct attach_row *row)
{
	if (row->counted)
		presence_uncount(sub->session->node->fanout.presence, sub, row->topic_id);
}

/*
 * The database has told that it may have its topic, and where that is: finds the place that it goes on from. False: it is asked
 * anew, or its session is being closed.
 */
static bool find_place(struct subscription *sub, const struct attach_row *row)
{
	struct node *n = sub->session->node;
	struct hub_topic *here = hub_find(n->fanout.hub, row->topic_id);
	bool new = !here;

	/* Whether it may was looked up before somebody's right was withdrawn: perhaps its own. */
	if (here && strcmp(here->epoch, row->epoch) == 0 && row->last_seq < here->revoked_seq) {
		if (sub->asked_again_seq < here->revoked_seq) {
			sub->asked_again_seq = here->revoked_seq;
			uncount(sub, row);
			authorizer_ask(n->authorizer, sub);
			return false;
		}
		/* Asked after that was announced, the database has no such message. */
		log_warning("a right was said to end where there is no message topic=%s", here->name);
		here->revoked_seq = row->last_seq;
	}
	sub->asked_again_seq = 0;
	if (!hold_topic(sub, row)) {
		uncount(sub, row);
		return false;
	}
	sub->allowed_ms = clock_monotonic_ms();
	subscription_find_place(sub, row);
	count_resume(sub);
	confirm_cursor(sub);
	/* What was committed since the answer was made rang when nobody here listened. */
	if (new || row->last_seq > tail_seq(sub->subscriber.topic->tail))
		fetcher_ring(n->fanout.fetcher, row->topic_id);
	return true;
}

static void welcome_if_counted(struct session *s)
{
	if (session_all_are(s, SUBSCRIPTION_COUNTED))
		subscribe_welcome(s);
}

void subscription_step(struct subscription *sub, enum subscription_event event, const struct attach_row *row)
{
	struct session *s = sub->session;
	struct node *n = s->node;

	switch (event) {
	case STEP_ALLOWED:
		if (!find_place(sub, row))
			break;
		move(sub, n, SUBSCRIPTION_COUNTING);
		if (sub->record.written_down)
			subscription_step(sub, STEP_WRITTEN, NULL);
		else
			presence_opened(n->fanout.presence, sub);
		break;
	case STEP_ADMITTED:
		move(sub, n, SUBSCRIPTION_COUNTING);
		presence_opened(n->fanout.presence, sub);
		break;
	case STEP_WRITTEN:
		move(sub, n, SUBSCRIPTION_COUNTED);
		if (s->kind->counted(sub))
			welcome_if_counted(s);
		break;
	case STEP_RETURNED:
		move(sub, n, SUBSCRIPTION_ATTACHING);
		break;
	case STEP_RESUMED:
		subscription_resume(sub);
		count_resume(sub);
		confirm_cursor(sub);
		move(sub, n, SUBSCRIPTION_COUNTED);
		break;
	case STEP_WELCOMED:
		/* What is there now is what it missed. */
		sub->at.missed_seq = MAX(tail_seq(sub->subscriber.topic->tail), sub->at.known_seq);
		move(sub, n, SUBSCRIPTION_CATCHING);
		break;
	case STEP_CAUGHT_UP:
		move(sub, n, SUBSCRIPTION_CAUGHT_UP);
		if (s->kind->caught_up)
			s->kind->caught_up(sub);
		else
			subscription_step(sub, STEP_JOINED, NULL);
		fetcher_run(n->fanout.fetcher);
		break;
	case STEP_JOINED:
		sub->at.welcomed = true;
		move(sub, n, SUBSCRIPTION_LIVE);
		hub_join(n->fanout.hub, &sub->subscriber);
		roster_watch_join(n->fanout.roster_watch, sub);
		break;
	case STEP_BEHIND:
		move(sub, n, SUBSCRIPTION_CATCHING);
		backfill_go_on(n->fanout.backfill, s);
		break;
	}
}

/* ---- its session */

void subscribe_welcome(struct session *s)
{
	struct buf text = BUF_EMPTY;

	s->kind->encoder->welcome(&text, s);
	s->greeted = buf_ok(&text);
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		subscription_step(s->subscriptions.items[i], STEP_WELCOMED, NULL);
	session_set_deadline(s, clock_monotonic_ms());
	if (text.len > 0 || !buf_ok(&text))
		session_write(s, &text);
	buf_free(&text);
	session_send_held(s);
	backfill_go_on(s->node->fanout.backfill, s);
	if (s->kind->welcomed && s->state == SESSION_OPEN)
		s->kind->welcomed(s);
}

void subscribe_end(struct session *s, bool kept)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++) {
		presence_closed(s->node->fanout.presence, s->subscriptions.items[i]);
		roster_watch_leave(s->node->fanout.roster_watch, s->subscriptions.items[i]);
	}
	if (!kept)
		session_audit_disconnect(s);
	if (s->kind->end)
		s->kind->end(s);
	identity_leave(s);
	session_end(s);
}

/* Its socket takes bytes: what it missed first, then what came meanwhile, each subscription in its turn. */
static void go_on(struct session *s)
{
	backfill_go_on(s->node->fanout.backfill, s);
	for (unsigned i = 0; i < s->subscriptions.count && session_is_clear(s); i++) {
		struct subscription *sub = session_turn(s, i);

		if (sub->state != SUBSCRIPTION_LIVE)
			continue;
		hub_writable(s->node->fanout.hub, &sub->subscriber, clock_monotonic_ms());
		roster_watch_ready(s->node->fanout.roster_watch, sub);
	}
	fetcher_run(s->node->fanout.fetcher);
}

bool subscribe_writable(struct session *s)
{
	bool clear = session_drained(s);

	if (clear && s->state == SESSION_OPEN && s->greeted)
		go_on(s);
	return clear && s->state == SESSION_CLOSING && s->outlet.ended;
}

/* ---- the hub's side */

static void on_behind(void *node, struct subscriber *s)
{
	(void)node;
	subscription_step(subscription_of(s), STEP_BEHIND, NULL);
}

static void on_delivered(void *node, struct hub_topic *t)
{
	presence_delivered(((struct node *)node)->fanout.presence, t);
}

static void on_delivered_private(void *node, struct hub_topic *t, uint64_t seq)
{
	presence_sent(((struct node *)node)->fanout.presence, t, seq);
}

static void on_revoked(void *node, struct hub_topic *t, const char *user_id, uint64_t seq)
{
	revocation_come(node, t, user_id, seq);
}

static int64_t clock_us(void *node)
{
	(void)node;
	return clock_monotonic_us();
}

/* The label is the largest of 1, 10, 100 … that it reaches. */
static void on_fanned_out(void *node, unsigned subscribers, int64_t took_us)
{
	unsigned size = 0;

	for (; subscribers >= 10 && size < FAN_OUT_SIZE_MAX; subscribers /= 10)
		size++;
	metrics_observe(&((struct node *)node)->metrics, METRIC_FAN_OUT_DURATION, size, 0, took_us, 1);
}

const struct hub_ops subscribe_hub_ops = {
	.write = session_deliver,
	.soon = session_deliver_soon,
	.behind = on_behind,
	.delivered = on_delivered,
	.delivered_private = on_delivered_private,
	.revoked = on_revoked,
	.clock_us = clock_us,
	.fanned_out = on_fanned_out,
};
