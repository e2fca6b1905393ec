#include "ws/session/session.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ws/metrics/node_metrics.h"

#define LEAVING_MS 5000 /* for what comes before the end of its subscriptions */

size_t session_held_bytes(const struct session *s)
{
	return outlet_bytes(&s->outlet) + s->in.bytes.size + s->in.early.size;
}

const char *session_transport(const struct session *s)
{
	static const char *const names[] = {
		[CLIENT_WEBSOCKET] = "websocket", [CLIENT_SSE] = "sse", [CLIENT_LONG_POLL] = "long_poll"};

	return names[s->kind->transport];
}

/* One connection, or topic, more; negative: less. */
static void count(const struct session *s, unsigned metric, int64_t more)
{
	metrics_add(&s->node->metrics, metric, metric == METRIC_CONNECTIONS ? s->kind->transport : 0, 0, more);
}

/* ---- its subscriptions */

bool session_subscribe(struct session *s, const struct selection *selection)
{
	s->subscriptions.items = calloc(selection->count, sizeof(s->subscriptions.items[0]));
	for (size_t i = 0; s->subscriptions.items && i < selection->count; i++) {
		struct subscription *sub = subscription_new(&selection->items[i], &s->id, session_transport(s));

		if (!sub)
			return false;
		sub->session = s;
		sub->subscriber.reader.inflates = s->in.inflates;
		s->subscriptions.items[s->subscriptions.count++] = sub;
		count(s, METRIC_SUBSCRIPTIONS, 1);
	}
	return s->subscriptions.items != NULL;
}

struct subscription *session_add(struct session *s, const struct selected *wanted, const char *user_id)
{
	size_t size = (s->subscriptions.count + 1) * sizeof(s->subscriptions.items[0]);
	struct subscription **grown = realloc(s->subscriptions.items, size);
	struct subscription *sub;

	if (!grown)
		return NULL;
	s->subscriptions.items = grown;
	sub = subscription_new(wanted, &s->id, session_transport(s));
	if (!sub)
		return NULL;
	sub->session = s;
	sub->subscriber.reader.user_id = user_id;
	sub->subscriber.reader.inflates = s->in.inflates;
	s->subscriptions.items[s->subscriptions.count++] = sub;
	count(s, METRIC_SUBSCRIPTIONS, 1);
	return sub;
}

/* Closes its gap. */
static void take_out(struct session_subscriptions *all, const struct subscription *sub)
{
	unsigned i = 0;

	while (all->items[i] != sub)
		i++;
	for (; i + 1 < all->count; i++)
		all->items[i] = all->items[i + 1];
	all->turn = 0;
}

void session_put_last(struct session *s, struct subscription *sub)
{
	take_out(&s->subscriptions, sub);
	s->subscriptions.items[s->subscriptions.count - 1] = sub;
}

void session_drop(struct session *s, struct subscription *sub)
{
	take_out(&s->subscriptions, sub);
	s->subscriptions.count--;
	count(s, METRIC_SUBSCRIPTIONS, -1);
	if (sub->asking) {
		s->subscriptions.asking = false;
		s->times.asked_ms = 0;
	}
	subscription_end(sub, s->node);
	subscription_unref(sub);
}

struct subscription *session_find(const struct session *s, const char *topic)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (strcmp(subscription_topic(s->subscriptions.items[i]), topic) == 0)
			return s->subscriptions.items[i];
	return NULL;
}

bool session_awaits(const struct subscription *sub, enum subscription_state state)
{
	const struct session *s = sub->session;

	return sub->state == state && s && s->state == SESSION_OPEN &&
	       (s->times.leave_by_ms == 0 || sub->subscriber.ends_seq != 0);
}

bool session_all_are(const struct session *s, enum subscription_state state)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (s->subscriptions.items[i]->state != state)
			return false;
	return true;
}

struct subscription *session_turn(const struct session *s, unsigned i)
{
	return s->subscriptions.items[(s->subscriptions.turn + i) % s->subscriptions.count];
}

void session_pass_turn(struct session *s, const struct subscription *sub)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (s->subscriptions.items[i] == sub)
			s->subscriptions.turn = i + 1;
}

/* ---- who it is */

void session_await(struct session *s)
{
	struct node *n = s->node;

	s->state = SESSION_STRANGER;
	TAILQ_INSERT_TAIL(&n->sessions.strangers, s, strange);
	n->sessions.strangers_count++;
}

static void leave_strangers(struct session *s)
{
	struct node *n = s->node;

	if (s->state != SESSION_STRANGER)
		return;
	TAILQ_REMOVE(&n->sessions.strangers, s, strange);
	n->sessions.strangers_count--;
}

void session_open(struct session *s)
{
	leave_strangers(s);
	s->state = SESSION_OPEN;
	session_set_deadline(s, clock_monotonic_ms());
}

/* ---- in the log */

void session_log(const struct session *s, enum log_level level, const char *format, ...)
{
	char id[UUID_TEXT_SIZE], address[ADDRESS_TEXT_SIZE];
	struct log_subject subject = {
		.connection_id = uuid_text(id, &s->id),
		.user_id = s->client.user_id,
		.client = address_text(address, &s->client.address),
	};
	va_list args;

	log_set_subject(&subject);
	va_start(args, format);
	log_vwrite(level, format, args);
	va_end(args);
	log_set_subject(NULL);
}

/* ---- closing */

void session_begin_closing(struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		hub_leave(&s->subscriptions.items[i]->subscriber);
	/* A poller's connection may outlive it for the next request, which this is then. */
	if (s->kind->is.duplex)
		buf_free(&s->in.early);
	session_drop_unfinished(s);
	leave_strangers(s);
	s->state = SESSION_CLOSING;
	s->node->sessions.closing_count++;
	/* To take its end it has its time anew. */
	if (s->outlet.choked_ms != 0)
		outlet_choke(&s->outlet);
	s->outlet.transport->want_writable(s->outlet.socket);
	session_set_deadline(s, clock_monotonic_ms());
}

void session_refuse(struct session *s, int status, enum close_code code, const char *reason)
{
	if (s->state == SESSION_CLOSING)
		return;
	s->end.code = (uint16_t)code;
	s->end.reason = reason;
	s->end.status = (uint16_t)status;
	session_log(s, LOG_DEBUG_, "closing code=%d reason=\"%s\"", code, reason);
	session_begin_closing(s);
}

void session_close(struct session *s, enum close_code code, const char *reason)
{
	session_refuse(s, 503, code, reason);
}

void session_close_bad(struct session *s)
{
	session_log(s, LOG_INFO_, "closing a client that sends bad messages");
	session_close(s, CLOSE_POLICY, "too many bad messages");
}

void session_close_slow(struct session *s)
{
	if (s->state != SESSION_CLOSING)
		node_count(s->node, METRIC_SLOW_CLIENTS_CLOSED);
	session_close(s, CLOSE_TRY_LATER, "reading too slowly");
}

void session_leave(struct session *s)
{
	if (s->state == SESSION_CLOSING || s->times.leave_by_ms != 0)
		return;
	s->times.leave_by_ms = clock_monotonic_ms() + LEAVING_MS;
	session_set_deadline(s, clock_monotonic_ms());
}

/* ---- what it says */

void session_heard(struct session *s)
{
	s->times.heard_ms = clock_monotonic_ms();
}

void session_drop_unfinished(struct session *s)
{
	struct node *n = s->node;

	buf_free(&s->in.bytes);
	budget_hold(&n->budget, &s->holding, session_held_bytes(s), clock_monotonic_ms());
	if (s->in.begun_ms == 0)
		return;
	n->unfinished.bytes -= (int64_t)s->in.charged;
	s->in.charged = 0;
	s->in.begun_ms = 0;
	TAILQ_REMOVE(&n->unfinished.begun, s, in.link);
}

/* ---- beginning and end */

/* Of random bytes that are fetched for 16 at a time: a system call takes longer than all else here. */
static bool new_id(struct uuid *id)
{
	static uint8_t random[256]; /* so many come whole, or not at all */
	static size_t left;

	if (left == 0 && getrandom(random, sizeof(random), 0) == sizeof(random))
		left = sizeof(random);
	if (left == 0)
		return false;
	left -= UUID_BYTES;
	*id = uuid_of_random(random + left);
	return true;
}

/* False: no memory. */
static bool add_by_id(struct session *s)
{
	HASH_ADD(by_id, s->node->sessions.by_id, id, sizeof(s->id), s);
	return HASH_HAS(by_id, s);
}

bool session_rename(struct session *s, const struct uuid *id)
{
	HASH_DELETE(by_id, s->node->sessions.by_id, s);
	s->by_id = (UT_hash_handle){0};
	s->id = *id;
	return add_by_id(s);
}

struct session *session_new(struct node *n, const struct transport *transport, const struct session_kind *kind)
{
	struct session *s = calloc(1, kind->size);

	if (s)
		s->node = n;
	if (!s || !new_id(&s->id) || !add_by_id(s)) {
		free(s);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&n->sessions.all, s, link);
	n->sessions.count++;
	n->sessions.opened++;
	s->outlet.transport = transport;
	s->outlet.encoder = kind->encoder;
	s->kind = kind;
	count(s, METRIC_CONNECTIONS, 1);
	s->times.opened_ms = s->times.heard_ms = clock_monotonic_ms();
	session_set_deadline(s, s->times.opened_ms);
	return s;
}

void session_end(struct session *s)
{
	struct node *n = s->node;

	for (unsigned i = 0; i < s->subscriptions.count; i++) {
		subscription_end(s->subscriptions.items[i], n);
		subscription_unref(s->subscriptions.items[i]);
	}
	count(s, METRIC_SUBSCRIPTIONS, -(int64_t)s->subscriptions.count);
	count(s, METRIC_CONNECTIONS, -1);
	wheel_unset(&s->times.wheel);
	if (HASH_HAS(by_id, s))
		HASH_DELETE(by_id, n->sessions.by_id, s);
	TAILQ_REMOVE(&n->sessions.all, s, link);
	n->sessions.count--;
	leave_strangers(s);
	session_drop_unfinished(s);
	n->sessions.closing_count -= s->state == SESSION_CLOSING;
	budget_hold(&n->budget, &s->holding, 0, 0);
	free(s->subscriptions.items);
	outlet_free(&s->outlet);
	buf_free(&s->in.early);
	free(s->client.allowed_origin);
	free(s->client.request_id);
	free(s);
}
