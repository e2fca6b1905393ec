#include "ws/live.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "domain/client_message.h"
#include "domain/live.h"
#include "store/acts.h"
#include "ws/audit.h"
#include "ws/catch_up.h"
#include "ws/gate.h"
#include "ws/identity.h"
#include "ws/ledger.h"
#include "ws/user.h"

#define EARLY_MAX 262144 /* bytes of messages that come before `authenticated` has been said */
#define ACTS_MAX 64	 /* messages of one client that the database has not answered */

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

/* ---- saying something */

static void send_text(struct session *s, struct buf *text)
{
	session_send(s, text);
	buf_free(text);
}

static void send_error(struct session *s, const char *code, const char *message, const char *correlation)
{
	struct buf text = BUF_EMPTY;

	live_error(&text, code, message, correlation, clock_wall_us());
	send_text(s, &text);
}

/* One that goes on with it is sent away. */
static void refuse(struct session *s, const char *code, const char *message, const char *correlation)
{
	if (!dialog_bear(&s->dialog, &s->node->dialog_limits, s->heard_ms * 1000)) {
		log_info("closing a client that sends bad messages");
		session_close(s, CLOSE_POLICY, "too many bad messages");
	} else {
		send_error(s, code, message, correlation);
	}
}

static const char away[] = "The database is away: try again later.";

/* ---- subscriptions */

/* The topic that a client means: one of its own streams, or a topic by its name. False: there is no such. */
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
	valid = buf_ok(&made) && made.bytes && topic_name_valid(made.bytes, made.len);
	if (valid)
		memcpy(topic, made.bytes, made.len + 1);
	buf_free(&made);
	return valid;
}

static struct subscription *find_subscription(const struct session *s, const char *topic)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		if (strcmp(subscription_topic(s->subscriptions[i]), topic) == 0)
			return s->subscriptions[i];
	return NULL;
}

static void say_subscribed(struct subscription *sub, const char *name, const char *correlation)
{
	struct place place = subscription_place(sub);
	struct buf text = BUF_EMPTY;

	live_subscribed(&text, name, &place, correlation, clock_wall_us());
	send_text(sub->session, &text);
}

/* False: no memory. */
static bool subscribe(struct session *s, const char *name, const struct selected *wanted, const char *correlation)
{
	struct subscription *sub = session_add(s, wanted);

	if (!sub)
		return false;
	sub->name = strdup(name);
	if (!sub->name || !subscription_ask(sub, name, correlation)) {
		session_drop(s, sub);
		return false;
	}
	gate_ask(s->node->gate, sub);
	return true;
}

static void on_subscribe(struct session *s, const struct client_message *m)
{
	struct selected wanted = {.has_cursor = m->cursor[0] != '\0'};
	struct subscription *sub;

	if (!find_topic(s, m->subscription, wanted.topic)) {
		refuse(s, "unknown_subscription", "There is no such subscription.", m->correlation_id.bytes);
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
			send_error(s, "unavailable", "The server is short of memory.", m->correlation_id.bytes);
		return;
	}
	if (s->subscriptions_count >= SELECTION_MAX) {
		refuse(s, "too_many_subscriptions", "A connection may have 100 subscriptions.",
		       m->correlation_id.bytes);
		return;
	}
	if (wanted.has_cursor)
		wanted.cursor_damaged = cursor_parse(&wanted.cursor, m->cursor, strlen(m->cursor)) != OK;
	if (!pipeline_is_up(s->node->pipeline) || !subscribe(s, m->subscription, &wanted, m->correlation_id.bytes))
		send_error(s, "unavailable", away, m->correlation_id.bytes);
}

static void end_subscription(struct subscription *sub)
{
	struct session *s = sub->session;
	bool others_waited = sub->asking;

	ledger_closed(s->node->ledger, sub);
	session_drop(s, sub);
	/* For its page; nobody answers that to this session any more. */
	if (others_waited)
		catch_up_go_on(s->node->catch_up, s);
}

static void on_unsubscribe(struct session *s, const struct client_message *m)
{
	char topic[TOPIC_NAME_MAX + 1];
	struct subscription *sub;
	struct buf text = BUF_EMPTY;

	if (!find_topic(s, m->subscription, topic)) {
		refuse(s, "unknown_subscription", "There is no such subscription.", m->correlation_id.bytes);
		return;
	}
	sub = find_subscription(s, topic);
	if (sub) {
		const struct asker *a;

		/* It comes before they could be answered. */
		STAILQ_FOREACH (a, &sub->askers, next)
			send_error(s, "cancelled", "It was unsubscribed before it was subscribed.", a->correlation);
		audit_unsubscribe(s, topic, "ok");
		end_subscription(sub);
	}
	live_unsubscribed(&text, m->subscription, topic, NULL, m->correlation_id.bytes, clock_wall_us());
	send_text(s, &text);
}

/* ---- who it is */

static void say_authenticated(struct session *s, const char *subscription)
{
	struct buf text = BUF_EMPTY;

	live_authenticated(&text, s->user->id, role_text(s->role), s->expires_s, subscription,
			   STAILQ_FIRST(&s->self->askers)->correlation, clock_wall_us());
	subscription_answered(s->self);
	s->authenticated = true;
	send_text(s, &text);
	session_set_deadline(s, clock_monotonic_ms());
}

/* What it said meanwhile: each text with its length before it. */
static void hear_early(struct session *s)
{
	struct buf early = s->early;
	size_t at = 0, len;

	s->early = BUF_EMPTY;
	s->node->waiting_bytes -= (int64_t)early.len;
	while (at < early.len && s->state == SESSION_OPEN) {
		memcpy(&len, early.bytes + at, sizeof(len));
		at += sizeof(len);
		live_receive(s, (struct span){early.bytes + at, len});
		at += len;
	}
	buf_free(&early);
}

/* Whether so many bytes more may wait for the database, of what all have said. */
static bool has_room(const struct node *n, size_t bytes)
{
	return n->waiting_bytes + (int64_t)bytes <= n->config->catch_up_max_bytes;
}

static void keep_early(struct session *s, struct span text)
{
	size_t before = s->early.len;

	buf_add(&s->early, &text.len, sizeof(text.len));
	buf_add(&s->early, text.bytes, text.len);
	s->node->waiting_bytes += (int64_t)(s->early.len - before);
	if (!buf_ok(&s->early) || !has_room(s->node, 0))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	else if (s->early.len > EARLY_MAX)
		session_close(s, CLOSE_POLICY, "too many messages before it is authenticated");
}

static void refuse_askers(const struct subscription *sub, bool forbidden)
{
	const struct asker *a;

	STAILQ_FOREACH (a, &sub->askers, next) {
		if (forbidden)
			refuse(sub->session, "forbidden", "This subscription is not allowed.", a->correlation);
		else
			send_error(sub->session, "unavailable", away, a->correlation);
	}
}

void live_refused(struct subscription *sub, enum err why)
{
	struct session *s = sub->session;
	bool forbidden = why == ERR_FORBIDDEN || why == ERR_NOT_FOUND;

	audit_subscribe(s, subscription_topic(sub), act_outcome_text(why));
	if (s->authenticated)
		refuse_askers(sub, forbidden);
	else if (!forbidden)
		session_close(s, CLOSE_TRY_LATER, "try again later");
	end_subscription(sub);
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
	live_unsubscribed(&text, sub->name, subscription_topic(sub), "revoked", NULL, clock_wall_us());
	send_text(sub->session, &text);
	audit_unsubscribe(sub->session, subscription_topic(sub), "revoked");
	end_subscription(sub);
}

void live_counted(struct subscription *sub)
{
	struct session *s = sub->session;
	struct selected own = {0};
	bool first = !s->authenticated;
	const struct asker *a;

	if (sub == s->self) {
		sub->state = SUBSCRIPTION_LIVE;
		if (!s->endpoint->subscription) {
			say_authenticated(s, NULL);
			hear_early(s);
		} else if (!find_topic(s, s->endpoint->subscription, own.topic)) {
			s->error_code = "invalid_user";
			session_close(s, CLOSE_POLICY, "this user id cannot be part of the name of a topic");
		} else if (!subscribe(s, s->endpoint->subscription, &own, NULL)) {
			session_close(s, CLOSE_TRY_LATER, "try again later");
		}
		return;
	}
	audit_subscribe(s, subscription_topic(sub), "ok");
	if (first)
		say_authenticated(s, s->endpoint->subscription);
	STAILQ_FOREACH (a, &sub->askers, next)
		say_subscribed(sub, a->name, a->correlation);
	subscription_answered(sub);
	sub->state = SUBSCRIPTION_CATCHING;
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

/* Services and admins need no account. */
static bool requires_user(const struct session *s)
{
	return s->node->config->require_user && s->role < ROLE_SERVICE;
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
		refuse_user(s, "authentication_failed", "authentication failed", "no such user");
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
	a->node = s->node;
	a->self = subscription_ref(s->self);
	e = calls_admit(s->node->pipeline,
			&(struct admission){
				.node_id = s->node->id_text,
				.user_id = s->user->id,
				.connection_id = uuid_text(id, &s->id),
				.transport = s->transport->name,
				.connected_at = clock_text(connected_at, s->self->connected_us),
				.require_user = requires_user(s),
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
	s->state = SESSION_OPEN;
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
	live_established(&text, &s->id, s->node->config->heartbeat_s, clock_wall_us());
	send_text(s, &text);
	if (token)
		authenticate(s, token, strlen(token), NULL);
}

static void refresh(struct session *s, const struct client_message *m)
{
	struct buf text = BUF_EMPTY;

	if (identity_renew(s, m->token.bytes, m->token.len) != OK) {
		audit_authenticate(s, "refresh refused");
		refuse(s, "authentication_failed", "This token is not one of this user in this role, or not valid.",
		       m->correlation_id.bytes);
		return;
	}
	audit_authenticate(s, "refreshed");
	live_token_refreshed(&text, s->expires_s, m->correlation_id.bytes, clock_wall_us());
	send_text(s, &text);
}

/* ---- what the database does */

struct acting {
	struct node *node;
	size_t bytes;		   /* that wait */
	struct subscription *self; /* with a reference */
	char *correlation;	   /* owned; NULL: none */
	const char *type;	   /* static */
};

static void answer_act(struct session *s, const struct acting *a, enum err e, const struct act_row *row)
{
	/* An ordinary user is told the same of what is not there and of what is somebody else's. */
	bool not_found = row && row->outcome == ERR_NOT_FOUND && s->role >= ROLE_SERVICE;
	struct buf text = BUF_EMPTY;

	audit_act(s, a->type, act_outcome_text(e != OK ? e : row->outcome));
	if (e == OK && row->outcome == OK) {
		buf_add_text(&text, row->reply);
		send_text(s, &text);
	} else if (e != OK) {
		send_error(s, "unavailable", "The database is away: what was sent may not have been stored.",
			   a->correlation);
	} else if (row->outcome == ERR_INPUT) {
		refuse(s, "invalid_message", row->detail ? row->detail : "This cannot be done.", a->correlation);
	} else {
		refuse(s, not_found ? "not_found" : "forbidden",
		       not_found ? "There is no such thing." : "This is not allowed.", a->correlation);
	}
}

static void on_act(void *context, enum err e, const struct act_row *row)
{
	struct acting *a = context;
	struct session *s = a->self->session;

	a->node->waiting_bytes -= (int64_t)a->bytes;
	if (s) {
		s->acts--;
		if (s->state == SESSION_OPEN)
			answer_act(s, a, e, row);
	}
	subscription_unref(a->self);
	free(a->correlation);
	free(a);
}

static void act(struct session *s, const struct client_message *m)
{
	const struct config *c = s->node->config;
	char connection_id[UUID_TEXT_SIZE];
	struct acting *a;
	size_t bytes = m->data.len + m->correlation_id.len;
	struct act sent = {
		.user_id = s->user->id,
		.role = role_text(s->role),
		.connection_id = uuid_text(connection_id, &s->id),
		.type = client_type_text(m->type),
		.data = m->data.bytes,
		.correlation = m->correlation_id.bytes,
		.queue_max = c->queue_max,
		.queue_min_age_s = c->queue_min_age_s,
		.require_user = requires_user(s),
	};
	enum err e;

	if (s->acts >= ACTS_MAX) {
		refuse(s, "rate_limited", "Too many messages wait for the database: slow down.",
		       m->correlation_id.bytes);
		return;
	}
	if (!has_room(s->node, bytes)) {
		send_error(s, "unavailable", "Too much waits for the database: try again later.",
			   m->correlation_id.bytes);
		return;
	}
	a = calloc(1, sizeof(*a));
	if (a && m->correlation_id.bytes) {
		a->correlation = strdup(m->correlation_id.bytes);
		if (!a->correlation) {
			free(a);
			a = NULL;
		}
	}
	if (!a) {
		send_error(s, "unavailable", "The server is short of memory.", m->correlation_id.bytes);
		return;
	}
	a->node = s->node;
	a->bytes = bytes;
	s->node->waiting_bytes += (int64_t)bytes;
	a->type = sent.type;
	a->self = subscription_ref(s->self);
	s->acts++;
	e = calls_act(s->node->acts, &sent, on_act, a);
	if (e != OK)
		on_act(a, e, NULL);
}

/* ---- what it says */

static void hear(struct session *s, const struct client_message *m)
{
	struct buf text = BUF_EMPTY;

	if (m->type == CLIENT_PING) {
		live_pong(&text, m->correlation_id.bytes, clock_wall_us());
		send_text(s, &text);
	} else if (m->type == CLIENT_AUTHENTICATE) {
		if (s->user)
			refuse(s, "already_authenticated", "This connection has its user.", m->correlation_id.bytes);
		else
			authenticate(s, m->token.bytes, m->token.len, m->correlation_id.bytes);
	} else if (!s->user) {
		refuse(s, "not_authenticated", "Authenticate first.", m->correlation_id.bytes);
	} else if (m->type == CLIENT_SUBSCRIBE) {
		on_subscribe(s, m);
	} else if (m->type == CLIENT_UNSUBSCRIBE) {
		on_unsubscribe(s, m);
	} else if (m->type == CLIENT_REFRESH_TOKEN) {
		refresh(s, m);
	} else {
		act(s, m);
	}
}

void live_receive(struct session *s, struct span text)
{
	struct client_message m = CLIENT_MESSAGE_NONE;
	struct client_fault fault = CLIENT_FAULT_NONE;
	enum err e;

	if (s->user && !s->authenticated) {
		keep_early(s, text);
		return;
	}
	if (!rate_take(&s->dialog.bucket, s->node->dialog_limits.rate_per_s, s->node->dialog_limits.burst,
		       s->heard_ms * 1000, NULL)) {
		refuse(s, "rate_limited", "Too many messages: slow down.", NULL);
		return;
	}
	e = client_message_read(&m, text, &fault);
	if (e == OK)
		hear(s, &m);
	else if (e == ERR_INPUT)
		refuse(s, fault.code, fault.sentence, m.correlation_id.bytes);
	else
		send_error(s, "unavailable", "The server is short of memory.", NULL);
	problem_free(&fault.problem);
	client_message_free(&m);
}
