#include "ws/live/live_subscriptions.h"

#include <stdlib.h>
#include <string.h>

#include "domain/dialog/live_text.h"
#include "ws/deliver/backfill.h"
#include "ws/deliver/presence.h"
#include "ws/identity/session_audit.h"
#include "ws/identity/user_sessions.h"
#include "ws/live/live_reply.h"
#include "ws/roster/roster_watch.h"
#include "ws/subscribe/authorizer.h"

bool live_find_topic(const struct session *s, const char *name, char topic[TOPIC_NAME_MAX + 1])
{
	static const struct {
		const char *name, *prefix;
	} streams[] = {{"health_updates", "health/"}, {"chat", "chats/"}, {"notifications", "notifications/"}};
	struct buf made = BUF_EMPTY;
	bool valid;

	for (size_t i = 0; i < ARRAY_LEN(streams); i++)
		if (strcmp(name, streams[i].name) == 0)
			buf_printf(&made, "%s%s", streams[i].prefix, s->user->id);
	if (made.len == 0)
		buf_add_text(&made, name);
	valid = buf_ok(&made) && made.bytes && topic_name_valid(made.bytes, made.len) &&
		!topic_name_misleads(made.bytes);
	if (valid)
		memcpy(topic, made.bytes, made.len + 1);
	buf_free(&made);
	return valid;
}

static struct subscription *find_subscription(const struct session *s, const char *topic)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (strcmp(subscription_topic(s->subscriptions.items[i]), topic) == 0)
			return s->subscriptions.items[i];
	return NULL;
}

static void say_subscribed(struct subscription *sub, const char *name, const char *correlation)
{
	struct resume_point place = subscription_place(sub);
	struct buf text = BUF_EMPTY;

	live_text_subscribed(&text, name, &place, correlation, clock_wall_us());
	live_say(sub->session, &text);
}

bool live_subscribe(struct session *s, const char *name, const struct selected *wanted, const char *correlation)
{
	struct subscription *sub = session_add(s, wanted, s->user->id);

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

static const char no_subscription[] =
	"There is no such subscription: it is health_updates, chat, notifications or the name of a topic.";

void live_on_subscribe(struct session *s, const struct client_message *m)
{
	struct selected wanted = {
		.has_cursor = m->cursor[0] != '\0', .presence = m->presence, .rewind = m->rewind, .types = m->types};
	struct subscription *sub;

	if (!live_find_topic(s, m->subscription, wanted.topic)) {
		live_refuse(s, "unknown_subscription", no_subscription, m->correlation_id.bytes);
		return;
	}
	sub = find_subscription(s, wanted.topic);
	if (sub && sub->state >= SUBSCRIPTION_CATCHING) {
		say_subscribed(sub, m->subscription, m->correlation_id.bytes);
		return;
	}
	/* What is under way answers this one too. */
	if (sub) {
		if (!subscription_ask(sub, m->subscription, m->correlation_id.bytes))
			live_say_error(s, "unavailable", "The server is short of memory.", m->correlation_id.bytes);
		return;
	}
	if (m->presence && !s->node->config->presence) {
		live_refuse(s, "forbidden", "Who is on a topic is not told here.", m->correlation_id.bytes);
		return;
	}
	if (s->subscriptions.count >= SELECTION_MAX) {
		live_refuse(s, "too_many_subscriptions", "A connection may have 100 subscriptions.",
			    m->correlation_id.bytes);
		return;
	}
	if (wanted.has_cursor)
		wanted.cursor_damaged = cursor_parse(&wanted.cursor, m->cursor, strlen(m->cursor)) != OK;
	if (!authorizer_can_ask(s->node->authorizer) ||
	    !live_subscribe(s, m->subscription, &wanted, m->correlation_id.bytes))
		live_say_error(s, "unavailable", LIVE_AWAY, m->correlation_id.bytes);
}

void live_on_ack(struct session *s, const struct client_message *m)
{
	struct subscription *sub = m->topic[0] != '\0' ? find_subscription(s, m->topic) : NULL;

	if (sub && sub->state >= SUBSCRIPTION_CATCHING)
		subscription_confirm(sub, (uint64_t)m->seq);
}

void live_end_subscription(struct subscription *sub)
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

void live_on_unsubscribe(struct session *s, const struct client_message *m)
{
	char topic[TOPIC_NAME_MAX + 1];
	struct subscription *sub;
	struct buf text = BUF_EMPTY;

	if (!live_find_topic(s, m->subscription, topic)) {
		live_refuse(s, "unknown_subscription", no_subscription, m->correlation_id.bytes);
		return;
	}
	sub = find_subscription(s, topic);
	if (sub) {
		const struct asker *a;

		/* It comes before they could be answered. */
		STAILQ_FOREACH (a, &sub->askers, next)
			live_say_error(s, "cancelled", "It was unsubscribed before it was subscribed.", a->correlation);
		session_audit_unsubscribe(s, topic, "ok");
		live_end_subscription(sub);
	}
	live_text_unsubscribed(&text, m->subscription, topic, NULL, m->correlation_id.bytes, clock_wall_us());
	live_say(s, &text);
}

void live_say_subscribed(struct subscription *sub)
{
	const struct asker *a;

	STAILQ_FOREACH (a, &sub->askers, next)
		say_subscribed(sub, a->name, a->correlation);
	subscription_answered(sub);
}

void live_refuse_askers(const struct subscription *sub, bool forbidden)
{
	const struct asker *a;

	STAILQ_FOREACH (a, &sub->askers, next) {
		if (forbidden)
			live_refuse(sub->session, "forbidden",
				    sub->session->role == ROLE_SERVICE ? ROLE_SERVICE_READS_NOTHING
								       : "This subscription is not allowed.",
				    a->correlation);
		else
			live_say_error(sub->session, "unavailable", LIVE_AWAY, a->correlation);
	}
}
