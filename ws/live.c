#include "ws/live.h"

#include <stdlib.h>
#include <string.h>

#include "domain/dialog/live_text.h"
#include "domain/input/client_message.h"
#include "store/sidecar/sql_live.h"
#include "ws/audit.h"
#include "ws/catch_up.h"
#include "ws/identity.h"
#include "ws/ledger.h"
#include "ws/live_acts.h"
#include "ws/live_say.h"
#include "ws/live_subscriptions.h"
#include "ws/strangers.h"
#include "ws/user.h"

#define EARLY_MAX 262144 /* bytes of messages that come before `authenticated` has been said */

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

/* ---- who it is */

static void say_authenticated(struct session *s, const char *subscription)
{
	struct buf text = BUF_EMPTY;

	live_text_authenticated(&text, s->user->id, role_text(s->role), s->expires_s, subscription,
			   STAILQ_FIRST(&s->self->askers)->correlation, clock_wall_us());
	subscription_answered(s->self);
	s->authenticated = true;
	live_say(s, &text);
	session_set_deadline(s, clock_monotonic_ms());
}

void live_refuse_rate(struct session *s)
{
	live_refuse(s, "rate_limited", "Too many messages: slow down.", NULL);
}

bool live_keeps(const struct session *s)
{
	return s->endpoint && s->user && !s->authenticated;
}

/* What it said meanwhile: each text with its length before it. */
static void hear_early(struct session *s)
{
	struct buf early = s->early;
	size_t at = 0, len;

	s->early = BUF_EMPTY;
	session_charge(s);
	while (at < early.len && s->state == SESSION_OPEN) {
		memcpy(&len, early.bytes + at, sizeof(len));
		at += sizeof(len);
		if (dialog_take(&s->dialog, &s->node->dialog_limits, dialog_cost(len), s->heard_ms * 1000))
			live_receive(s, (struct span){early.bytes + at, len});
		else
			live_refuse_rate(s);
		at += len;
	}
	buf_free(&early);
}

static void keep_early(struct session *s, struct span text)
{
	if (!session_make_room(s->node, text.len)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	buf_add(&s->early, &text.len, sizeof(text.len));
	buf_add(&s->early, text.bytes, text.len);
	if (!buf_ok(&s->early))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	else if (s->early.len > EARLY_MAX)
		session_close(s, CLOSE_POLICY, "too many messages before it is authenticated");
	session_charge(s);
}

void live_refused(struct subscription *sub, enum err why)
{
	struct session *s = sub->session;
	bool forbidden = why == ERR_FORBIDDEN || why == ERR_NOT_FOUND;

	audit_subscribe(s, subscription_topic(sub), act_outcome_text(why));
	if (s->authenticated)
		live_refuse_askers(sub, forbidden);
	else if (!forbidden)
		session_close(s, CLOSE_TRY_LATER, "try again later");
	live_end_subscription(sub);
	/* Its own stream, which this role does not have. */
	if (!s->authenticated && forbidden) {
		say_authenticated(s, NULL);
		hear_early(s);
	}
}

void live_revoke(struct subscription *sub)
{
	struct buf text = BUF_EMPTY;

	/* It has not been told yet that it has it. */
	if (sub->state < SUBSCRIPTION_CATCHING) {
		live_refused(sub, ERR_FORBIDDEN);
		return;
	}
	live_text_unsubscribed(&text, sub->name, subscription_topic(sub), "revoked", NULL, clock_wall_us());
	live_say(sub->session, &text);
	audit_unsubscribe(sub->session, subscription_topic(sub), "revoked");
	live_end_subscription(sub);
}

void live_counted(struct subscription *sub)
{
	struct session *s = sub->session;
	struct selected own = {0};
	bool first = !s->authenticated;

	if (sub == s->self) {
		sub->state = SUBSCRIPTION_LIVE;
		if (!s->endpoint->subscription) {
			say_authenticated(s, NULL);
			hear_early(s);
		} else if (!live_find_topic(s, s->endpoint->subscription, own.topic)) {
			s->error_code = "invalid_user";
			session_close(s, CLOSE_POLICY, "this user id cannot be part of the name of a topic");
		} else if (!live_subscribe(s, s->endpoint->subscription, &own, NULL)) {
			session_close(s, CLOSE_TRY_LATER, "try again later");
		}
		return;
	}
	audit_subscribe(s, subscription_topic(sub), "ok");
	if (first)
		say_authenticated(s, s->endpoint->subscription);
	live_say_subscribed(sub);
	subscription_catch_up(sub);
	catch_up_go_on(s->node->catch_up, s);
	if (first)
		hear_early(s);
}

static void refuse_user(struct session *s, const char *error_code, const char *reason, const char *why)
{
	audit_authenticate(s, why);
	s->error_code = error_code;
	session_close(s, CLOSE_POLICY, reason);
}

struct admitting {
	struct node *node;
	struct subscription *self; /* with a reference */
};

static void on_admit(void *context, enum err e)
{
	struct admitting *a = context;
	struct subscription *self = a->self;
	struct session *s = self->session;

	if (!s || s->state != SESSION_OPEN) {
		/* It went meanwhile. */
		if (e == OK)
			ledger_erase(a->node->ledger, self);
	} else if (e == OK) {
		audit_authenticate(s, "ok");
		self->subscriber.reader.user_id = s->user->id;
		self->state = SUBSCRIPTION_COUNTING;
		ledger_opened(s->node->ledger, self);
	} else if (e == ERR_UNAUTHORIZED) {
		s->close_detail = "This user has no active account.";
		refuse_user(s, "authentication_failed", "no active account", "no such user");
	} else if (e == ERR_LIMIT) {
		refuse_user(s, "too_many_connections", "too many connections", "too many connections");
	} else {
		session_close(s, CLOSE_TRY_LATER, "try again later");
	}
	subscription_unref(self);
	free(a);
}

static void admit(struct session *s)
{
	const struct config *c = s->node->config;
	struct admitting *a = calloc(1, sizeof(*a));
	char id[UUID_TEXT_SIZE], connected_at[CLOCK_TEXT_SIZE];
	enum err e;

	if (!a) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	identity_charge(s);
	a->node = s->node;
	a->self = subscription_ref(s->self);
	e = sql_admit(s->node->pipeline,
			&(struct admission){
				.node_id = s->node->id_text,
				.user_id = s->user->id,
				.connection_id = uuid_text(id, &s->id),
				.transport = s->transport->name,
				.connected_at = clock_text(connected_at, s->self->connected_us),
				.require_user = identity_needs_account(s),
				.connections_max = c->live_connections_max,
			},
			on_admit, a);
	if (e != OK)
		on_admit(a, e);
}

static void authenticate(struct session *s, const char *token, size_t len, const char *correlation)
{
	if (!identity_take(s, token, len, (size_t)s->node->config->live_connections_max)) {
		audit_authenticate(s, s->close_reason);
		return;
	}
	session_open(s);
	if (!subscription_ask(s->self, NULL, correlation)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	session_set_deadline(s, clock_monotonic_ms());
	admit(s);
}

void live_begin(struct session *s, const char *token)
{
	struct buf text = BUF_EMPTY;

	s->self = subscription_new(NULL, &s->id, s->transport->name);
	if (!s->self) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	s->self->session = s;
	s->greeted = true;
	session_set_deadline(s, s->opened_ms);
	live_text_established(&text, &s->id, s->node->config->heartbeat_s, clock_wall_us());
	live_say(s, &text);
	/* One that could not be told is not let in any more. */
	if (s->state == SESSION_CLOSING)
		return;
	if (token)
		authenticate(s, token, strlen(token), NULL);
	else
		strangers_add(s);
}

static void refresh(struct session *s, const struct client_message *m)
{
	const char *detail;
	struct buf text = BUF_EMPTY;
	enum err e = identity_renew(s, m->token.bytes, m->token.len, &detail);

	if (e == ERR_MEMORY) {
		live_say_error(s, "unavailable", detail, m->correlation_id.bytes);
		return;
	}
	if (e != OK) {
		audit_authenticate(s, "refresh refused");
		live_refuse(s, "authentication_failed", detail, m->correlation_id.bytes);
		return;
	}
	audit_authenticate(s, "refreshed");
	live_text_token_refreshed(&text, s->expires_s, m->correlation_id.bytes, clock_wall_us());
	live_say(s, &text);
}

/* ---- what it says */

static void hear(struct session *s, const struct client_message *m)
{
	struct buf text = BUF_EMPTY;

	if (m->type == CLIENT_PING) {
		live_text_pong(&text, m->correlation_id.bytes, clock_wall_us());
		live_say(s, &text);
	} else if (m->type == CLIENT_AUTHENTICATE) {
		if (s->user)
			live_refuse(s, "already_authenticated", "This connection has its user.",
				    m->correlation_id.bytes);
		else
			authenticate(s, m->token.bytes, m->token.len, m->correlation_id.bytes);
	} else if (!s->user) {
		live_refuse(s, "not_authenticated", "Authenticate first.", m->correlation_id.bytes);
	} else if (m->type == CLIENT_SUBSCRIBE) {
		live_on_subscribe(s, m);
	} else if (m->type == CLIENT_UNSUBSCRIBE) {
		live_on_unsubscribe(s, m);
	} else if (m->type == CLIENT_REFRESH_TOKEN) {
		refresh(s, m);
	} else {
		live_act(s, m);
	}
}

void live_receive(struct session *s, struct span text)
{
	struct client_message m = CLIENT_MESSAGE_NONE;
	struct client_fault fault = CLIENT_FAULT_NONE;
	enum err e;

	if (live_keeps(s)) {
		keep_early(s, text);
		return;
	}
	e = client_message_read(&m, text, &fault);
	if (e == OK)
		hear(s, &m);
	else if (e == ERR_INPUT)
		live_refuse_fault(s, &fault, m.correlation_id.bytes);
	else
		live_say_error(s, "unavailable", "The server is short of memory.", NULL);
	problem_free(&fault.problem);
	client_message_free(&m);
}
