#include "ws/live/live_connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/dialog/live_text.h"
#include "domain/input/client_message.h"
#include "store/wire/act.h"
#include "ws/deliver/presence.h"
#include "ws/dialog/early.h"
#include "ws/dialog/reply.h"
#include "ws/encode/encode_live.h"
#include "ws/identity/identity.h"
#include "ws/identity/session_audit.h"
#include "ws/identity/strangers.h"
#include "ws/identity/user_sessions.h"
#include "ws/kind/stream.h"
#include "ws/live/live_actions.h"
#include "ws/live/live_admission.h"
#include "ws/live/live_session.h"
#include "ws/metrics/node_metrics.h"
#include "ws/subscribe/arrival.h"
#include "ws/subscribe/subscribe_request.h"

#define EXPIRY_WARNING_S 60 /* spec section 6 */

static const struct endpoint endpoints[] = {
	{"health", "health_updates"},
	{"chat", "chat"},
	{"notifications", "notifications"},
	{"combined", NULL},
};

const struct endpoint *live_endpoint(struct span path)
{
	static const char prefix[] = "/ws/";
	size_t len = strlen(prefix);

	for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
		const char *name = endpoints[i].name;

		if (path.len == len + strlen(name) && memcmp(path.bytes, prefix, len) == 0 &&
		    memcmp(path.bytes + len, name, strlen(name)) == 0)
			return &endpoints[i];
	}
	return NULL;
}

/* ---- its topics */

/* The topic that its client means: one of its own streams, or a topic by its name. False: there is no such. */
static bool find_topic(const struct session *s, const char *name, char topic[TOPIC_NAME_MAX + 1])
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
	valid = buf_ok(&made) && made.bytes && topic_name_usable(made.bytes, made.len);
	if (valid)
		memcpy(topic, made.bytes, made.len + 1);
	buf_free(&made);
	return valid;
}

/* ---- who it is */

static void say_authenticated(struct session *s, const char *subscription)
{
	struct live_session *live = live_session_of(s);
	struct buf text = BUF_EMPTY;

	live_text_authenticated(&text, s->user->id, role_text(s->role), s->times.expires_s, subscription,
				STAILQ_FIRST(&live->self->askers)->correlation, clock_wall_us());
	subscription_answered(live->self);
	live->authenticated = true;
	reply_say(s, &text);
	session_set_deadline(s, clock_monotonic_ms());
}

static void refuse_rate(struct session *s)
{
	reply_refuse(s, "rate_limited", "Too many messages: slow down.", NULL);
}

static void refuse_early(struct session *s)
{
	metrics_add(&s->node->metrics, METRIC_CLIENT_MESSAGES_REFUSED, MESSAGE_RATE, 0, 1);
	refuse_rate(s);
}

/* What comes before `authenticated` has been said. */
static bool keeps_early(const struct session *s)
{
	return s->user && !((const struct live_session *)s)->authenticated;
}

static void receive(struct session *s, struct span text);

static void hear_early(struct session *s, struct span text)
{
	if (dialog_take(&s->dialog, &s->node->dialog_limits, dialog_cost(text.len), s->times.heard_ms * 1000))
		receive(s, text);
	else
		refuse_early(s);
}

static void refused(struct subscription *sub, enum err why)
{
	struct session *s = sub->session;
	bool forbidden = why == ERR_FORBIDDEN || why == ERR_NOT_FOUND;

	if (live_session_of(s)->authenticated) {
		subscribe_request_refused(sub, why);
		return;
	}
	/* Its own stream, for which nobody has asked: this role does not have it, or nobody knows. */
	session_audit_subscribe(s, subscription_topic(sub), act_outcome_text(why));
	if (!forbidden)
		session_close(s, CLOSE_TRY_LATER, "try again later");
	subscribe_request_drop(sub);
	if (forbidden) {
		say_authenticated(s, NULL);
		early_hear(s, hear_early);
	}
}

static void revoked(struct subscription *sub)
{
	struct buf text = BUF_EMPTY;

	/* It has not been told yet that it has it. */
	if (sub->state < SUBSCRIPTION_CATCHING) {
		refused(sub, ERR_FORBIDDEN);
		return;
	}
	live_text_unsubscribed(&text, sub->name, subscription_topic(sub), "revoked", NULL, clock_wall_us());
	reply_say(sub->session, &text);
	session_audit_unsubscribe(sub->session, subscription_topic(sub), "revoked");
	subscribe_request_drop(sub);
}

/* The connection itself is counted. Its own stream comes with it, and `authenticated` with that. */
static void subscribe_to_own(struct session *s, const char *stream)
{
	struct selected own = {0};

	if (!stream) {
		say_authenticated(s, NULL);
		early_hear(s, hear_early);
	} else if (!find_topic(s, stream, own.topic)) {
		s->end.error_code = "invalid_user";
		session_close(s, CLOSE_POLICY, "this user id cannot be part of the name of a topic");
	} else if (!subscribe_request_make(s, stream, &own, NULL)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
	}
}

static bool counted(struct subscription *sub)
{
	struct session *s = sub->session;
	struct live_session *live = live_session_of(s);
	bool first = !live->authenticated;

	if (sub == live->self) {
		subscribe_to_own(s, live->endpoint->subscription);
		return false;
	}
	if (first)
		say_authenticated(s, live->endpoint->subscription);
	subscribe_request_welcome(sub);
	if (first)
		early_hear(s, hear_early);
	return false;
}

/* Its message may name its device, where its request has not. */
static void take_device(struct session *s, const struct client_message *m)
{
	if (m->device[0] != '\0')
		snprintf(s->dialog.device, sizeof(s->dialog.device), "%s", m->device);
}

static void authenticate(struct session *s, const char *token, size_t len, const char *correlation)
{
	struct live_session *live = live_session_of(s);

	if (!identity_take(s, live->endpoint->name, token, len, (size_t)s->node->config->live_connections_max)) {
		session_audit_authenticate(s, s->end.reason);
		return;
	}
	session_open(s);
	if (!subscription_ask(live->self, NULL, correlation)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	session_set_deadline(s, clock_monotonic_ms());
	live_admit(s);
}

static void begin(struct session *s, const struct arrival *a)
{
	struct live_session *live = live_session_of(s);
	struct buf text = BUF_EMPTY;

	live->endpoint = a->endpoint;
	live->self = subscription_new(NULL, &s->id, session_transport(s));
	if (!live->self) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	live->self->session = s;
	s->greeted = true;
	session_set_deadline(s, s->times.opened_ms);
	live_text_established(&text, &s->id, s->node->config->heartbeat_s, clock_wall_us());
	reply_say(s, &text);
	/* One that could not be told is not let in any more. */
	if (s->state == SESSION_CLOSING)
		return;
	if (a->token)
		authenticate(s, a->token, strlen(a->token), NULL);
	else
		strangers_add(s);
}

static void refresh(struct session *s, const struct client_message *m)
{
	struct live_session *live = live_session_of(s);
	const char *detail;
	struct buf text = BUF_EMPTY;
	enum err e = identity_renew(s, live->endpoint->name, m->token.bytes, m->token.len, &detail);

	if (e == ERR_MEMORY) {
		reply_error(s, "unavailable", detail, m->correlation_id.bytes);
		return;
	}
	if (e != OK) {
		session_audit_authenticate(s, "refresh refused");
		reply_refuse(s, "authentication_failed", detail, m->correlation_id.bytes);
		return;
	}
	live->told_expiring = false;
	session_set_deadline(s, clock_monotonic_ms());
	session_audit_authenticate(s, "refreshed");
	live_text_token_refreshed(&text, s->times.expires_s, m->correlation_id.bytes, clock_wall_us());
	reply_say(s, &text);
}

/* ---- what it says */

static void change_topics(struct session *s, const struct client_message *m)
{
	char topic[TOPIC_NAME_MAX + 1];

	if (!find_topic(s, m->subscription, topic))
		reply_refuse(s, "unknown_subscription",
			     "There is no such subscription: it is health_updates, chat, notifications or the name of "
			     "a topic.",
			     m->correlation_id.bytes);
	else if (m->type == CLIENT_SUBSCRIBE)
		subscribe_request_add(s, m, topic);
	else
		subscribe_request_end(s, m, topic);
}

/* Of a topic's message: its client has it, and all before it. */
static void confirm(const struct session *s, const struct client_message *m)
{
	struct subscription *sub = m->topic[0] != '\0' ? session_find(s, m->topic) : NULL;

	if (sub && sub->state >= SUBSCRIPTION_CATCHING)
		subscription_confirm(sub, (uint64_t)m->seq);
}

static void hear(struct session *s, const struct client_message *m)
{
	struct buf text = BUF_EMPTY;

	if (m->type == CLIENT_PING) {
		live_text_pong(&text, m->correlation_id.bytes, clock_wall_us());
		reply_say(s, &text);
	} else if (m->type == CLIENT_AUTHENTICATE) {
		if (s->user) {
			reply_refuse(s, "already_authenticated", "This connection has its user.",
				     m->correlation_id.bytes);
			return;
		}
		take_device(s, m);
		authenticate(s, m->token.bytes, m->token.len, m->correlation_id.bytes);
	} else if (!s->user) {
		reply_refuse(s, "not_authenticated", "Authenticate first.", m->correlation_id.bytes);
	} else if (m->type == CLIENT_SUBSCRIBE || m->type == CLIENT_UNSUBSCRIBE) {
		change_topics(s, m);
	} else if (m->type == CLIENT_REFRESH_TOKEN) {
		refresh(s, m);
	} else {
		if (m->type == CLIENT_ACK)
			confirm(s, m);
		live_act(s, m);
	}
}

static void receive(struct session *s, struct span text)
{
	struct client_message m = CLIENT_MESSAGE_NONE;
	struct client_fault fault = CLIENT_FAULT_NONE;
	enum err e;

	if (keeps_early(s)) {
		early_keep(s, text);
		return;
	}
	e = client_message_read(&m, text, &fault);
	if (e == OK)
		metrics_add(&s->node->metrics, METRIC_CLIENT_MESSAGES, m.type, 0, 1);
	else if (e == ERR_INPUT)
		metrics_add(&s->node->metrics, METRIC_CLIENT_MESSAGES_REFUSED, MESSAGE_INVALID, 0, 1);
	if (e == OK)
		hear(s, &m);
	else if (e == ERR_INPUT)
		reply_refuse_fault(s, &fault, m.correlation_id.bytes);
	else
		reply_error(s, "unavailable", "The server is short of memory.", NULL);
	problem_free(&fault.problem);
	client_message_free(&m);
}

/* ---- its token expires */

static int64_t due_ms(const struct session *s, int64_t now_ms)
{
	const struct live_session *live = (const struct live_session *)s;

	if (s->times.expires_s == 0 || !live->authenticated || live->told_expiring)
		return INT64_MAX;
	return session_at_wall_s(s->times.expires_s - EXPIRY_WARNING_S, now_ms);
}

static void due(struct session *s, int64_t now_ms)
{
	struct buf text = BUF_EMPTY;

	live_session_of(s)->told_expiring = true;
	live_text_token_expiring(&text, MAX(s->times.expires_s - clock_wall_us() / 1000000, 0), clock_wall_us());
	reply_say(s, &text);
	session_set_deadline(s, now_ms);
}

static void end(struct session *s)
{
	struct live_session *live = live_session_of(s);

	if (!live->self)
		return;
	presence_closed(s->node->fanout.presence, live->self);
	live->self->session = NULL;
	subscription_unref(live->self);
	live->self = NULL;
}

const struct session_kind kind_live = {
	.transport = CLIENT_WEBSOCKET,
	.encoder = &encoder_live,
	.size = sizeof(struct live_session),
	.is.duplex = true,
	.is.needs_user = true,
	.begin = begin,
	.end = end,
	.receive = receive,
	.refuse_rate = refuse_rate,
	.keeps_early = keeps_early,
	.refused = refused,
	.counted = counted,
	.page = stream_page,
	.revoked = revoked,
	.due_ms = due_ms,
	.due = due,
};
