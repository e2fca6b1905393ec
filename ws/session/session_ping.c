#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "domain/websocket/frame.h"
#include "ws/metrics/node_metrics.h"
#include "ws/session/session.h"

#define PLACE_PING_MS 2000 /* from one to the next (spec section 7) */
#define NUMBER_SIZE 21

/* It goes on by its name, where it has one. */
static bool is_device(const struct session *s)
{
	return s->user && s->dialog.device[0] != '\0';
}

/* One with a cursor of its own is not asked. What is for its user alone comes before its place, and is not there yet while it waits. */
static bool lacks_confirmation(const struct subscription *sub)
{
	const struct subscriber *r = &sub->subscriber;

	if (!r->topic || sub->state < SUBSCRIPTION_CATCHING || sub->unsent.waits)
		return false;
	return is_device(sub->session) ? r->seq > sub->at.confirmed_seq
				       : sub->at.resumed_by == RESUMED_BY_QUEUE && r->seq > r->topic->confirmed.seq;
}

static void set_due(struct session *s, int64_t now_ms)
{
	s->times.place.due_ms = MAX(now_ms, s->times.place.sent_ms + PLACE_PING_MS);
	session_set_deadline(s, now_ms);
}

void session_given(struct subscription *sub)
{
	struct session *s = sub->session;
	int64_t now_ms;

	if (!s->kind->is.duplex || s->times.place.due_ms != 0 || s->times.place.awaited || !lacks_confirmation(sub))
		return;
	now_ms = (int64_t)uv_now(s->node->loop);
	if (!is_device(s)) {
		struct hub_confirmed *confirmed = &sub->subscriber.topic->confirmed;

		/* Of all who listen to the topic one confirms for all without a name, and one is the next, should that one be frozen. */
		if (now_ms + PLACE_PING_MS < confirmed->ask_ms)
			return;
		now_ms = MAX(now_ms, confirmed->ask_ms);
		confirmed->ask_ms = now_ms + PLACE_PING_MS;
	}
	set_due(s, now_ms);
}

void session_take_place(struct session *s, int64_t now_ms)
{
	struct place_ping *p = &s->times.place;

	p->due_ms = 0;
	if (p->awaited)
		return;
	*p = (struct place_ping){.number = p->number + 1, .sent_ms = now_ms, .awaited = true};
	for (unsigned i = 0; i < s->subscriptions.count; i++) {
		struct subscription *sub = s->subscriptions.items[i];
		bool has_place = sub->state >= SUBSCRIPTION_CATCHING && !sub->unsent.waits;

		sub->at.asked_seq = has_place ? sub->subscriber.seq : 0;
	}
}

static struct span number_text(const struct session *s, char room[NUMBER_SIZE])
{
	return (struct span){room, (size_t)snprintf(room, NUMBER_SIZE, "%" PRIu64, s->times.place.number)};
}

void session_add_ping(struct buf *out, const struct session *s)
{
	char room[NUMBER_SIZE];

	frame_add_ping(out, number_text(s, room));
}

int64_t session_ping_due_ms(const struct session *s)
{
	/* One that takes nothing is asked once it does. */
	return s->greeted && s->times.place.due_ms != 0 && s->outlet.choked_ms == 0 ? s->times.place.due_ms : INT64_MAX;
}

void session_ponged(struct session *s, struct span payload)
{
	struct place_ping *p = &s->times.place;
	char room[NUMBER_SIZE];
	struct span number = number_text(s, room);
	bool again = false;

	if (!p->awaited || payload.len != number.len || memcmp(payload.bytes, number.bytes, number.len) != 0)
		return;
	p->awaited = false;
	metrics_observe(&s->node->metrics, METRIC_CLIENT_ROUND_TRIP, 0, 0, (s->times.heard_ms - p->sent_ms) * 1000, 1);
	for (unsigned i = 0; i < s->subscriptions.count; i++) {
		struct subscription *sub = s->subscriptions.items[i];

		if (sub->at.asked_seq > 0)
			subscription_confirm(sub, sub->at.asked_seq);
		sub->at.asked_seq = 0;
		again = again || lacks_confirmation(sub);
	}
	if (again && p->due_ms == 0)
		set_due(s, s->times.heard_ms);
}

void session_confirm_taken(struct session *s)
{
	if (s->state != SESSION_OPEN || !outlet_all_has_left(&s->outlet) ||
	    s->outlet.transport->queued(s->outlet.socket) != 0)
		return;
	for (unsigned i = 0; i < s->subscriptions.count; i++) {
		struct subscription *sub = s->subscriptions.items[i];

		if (sub->state >= SUBSCRIPTION_CATCHING && !sub->unsent.waits)
			subscription_confirm(sub, sub->subscriber.seq);
	}
}
