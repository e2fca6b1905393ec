#include "ws/subscribe/subscribe_request.h"

#include <stdio.h>
#include <string.h>

#include "domain/dialog/live_text.h"
#include "store/wire/act.h"
#include "ws/deliver/backfill.h"
#include "ws/deliver/presence.h"
#include "ws/deliver/redelivery.h"
#include "ws/dialog/reply.h"
#include "ws/identity/identity.h"
#include "ws/identity/session_audit.h"
#include "ws/identity/user_sessions.h"
#include "ws/roster/roster_watch.h"
#include "ws/subscribe/authorizer.h"

static void say_subscribed(struct subscription *sub, const char *name, const char *correlation)
{
	struct resume_point place = subscription_place(sub);
	struct buf text = BUF_EMPTY;

	live_text_subscribed(&text, name, &place, correlation, clock_wall_us());
	reply_say(sub->session, &text);
}

bool subscribe_request_make(struct session *s, const char *name, const struct selected *wanted, const char *correlation)
{
	struct subscription *sub = session_add(s, wanted, s->user ? s->user->id : NULL);

	if (!sub)
		return false;
	sub->name = strdup(name);
	if (!sub->name || !subscription_ask(sub, name, correlation)) {
		session_drop(s, sub);
		return false;
	}
	authorizer_ask(s->node->authorizer, sub);
	return true;
}

void subscribe_request_add(struct session *s, const struct client_message *m, const char *topic)
{
	struct selected wanted = {
		.has_cursor = m->cursor[0] != '\0', .presence = m->presence, .rewind = m->rewind, .types = m->types};
	struct subscription *sub = session_find(s, topic);

	snprintf(wanted.topic, sizeof(wanted.topic), "%s", topic);
	if (sub && sub->state >= SUBSCRIPTION_CATCHING) {
		say_subscribed(sub, m->subscription, m->correlation_id.bytes);
		return;
	}
	/* What is under way answers this one too. */
	if (sub) {
		if (!subscription_ask(sub, m->subscription, m->correlation_id.bytes))
			reply_error(s, "unavailable", "The server is short of memory.", m->correlation_id.bytes);
		return;
	}
	if (m->presence && !s->node->config->presence) {
		reply_refuse(s, "forbidden", "Who is on a topic is not told here.", m->correlation_id.bytes);
		return;
	}
	if (s->subscriptions.count >= SELECTION_MAX) {
		reply_refuse(s, "too_many_subscriptions", "A connection may have 100 subscriptions.",
			     m->correlation_id.bytes);
		return;
	}
	if (!identity_take_topic(s)) {
		reply_refuse(s, "rate_limited", "You subscribe more often than is allowed.", m->correlation_id.bytes);
		return;
	}
	if (wanted.has_cursor)
		wanted.cursor_damaged = cursor_parse(&wanted.cursor, m->cursor, strlen(m->cursor)) != OK;
	if (!authorizer_can_ask(s->node->authorizer) ||
	    !subscribe_request_make(s, m->subscription, &wanted, m->correlation_id.bytes))
		reply_error(s, "unavailable", REPLY_AWAY, m->correlation_id.bytes);
}

void subscribe_request_drop(struct subscription *sub)
{
	struct session *s = sub->session;
	bool others_waited = sub->asking;

	presence_closed(s->node->fanout.presence, sub);
	roster_watch_leave(s->node->fanout.roster_watch, sub);
	session_drop(s, sub);
	/* For its page; nobody answers that to this session any more. */
	if (others_waited)
		backfill_go_on(s->node->fanout.backfill, s);
}

void subscribe_request_end(struct session *s, const struct client_message *m, const char *topic)
{
	struct subscription *sub = session_find(s, topic);
	struct buf text = BUF_EMPTY;

	if (sub) {
		const struct asker *a;

		/* It comes before they could be answered. */
		STAILQ_FOREACH (a, &sub->askers, next)
			reply_error(s, "cancelled", "It was unsubscribed before it was subscribed.", a->correlation);
		session_audit_unsubscribe(s, topic, "ok");
		subscribe_request_drop(sub);
	}
	live_text_unsubscribed(&text, m->subscription, topic, NULL, m->correlation_id.bytes, clock_wall_us());
	reply_say(s, &text);
}

void subscribe_request_welcome(struct subscription *sub)
{
	struct session *s = sub->session;
	const struct asker *a;

	redelivery_ask(sub);
	session_audit_subscribe(s, subscription_topic(sub), "ok");
	session_put_last(s, sub);
	STAILQ_FOREACH (a, &sub->askers, next)
		say_subscribed(sub, a->name, a->correlation);
	subscription_answered(sub);
	subscription_step(sub, STEP_WELCOMED, NULL);
	backfill_go_on(s->node->fanout.backfill, s);
}

void subscribe_request_refused(struct subscription *sub, enum err why)
{
	struct session *s = sub->session;
	const struct asker *a;

	session_audit_subscribe(s, subscription_topic(sub), act_outcome_text(why));
	STAILQ_FOREACH (a, &sub->askers, next) {
		if (why == ERR_FORBIDDEN || why == ERR_NOT_FOUND)
			reply_refuse(s, "forbidden",
				     s->role == ROLE_SERVICE ? ROLE_SERVICE_READS_NOTHING
							     : "This subscription is not allowed.",
				     a->correlation);
		else
			reply_error(s, "unavailable", REPLY_AWAY, a->correlation);
	}
	subscribe_request_drop(sub);
}
