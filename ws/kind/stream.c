#include "ws/kind/stream.h"

#include <string.h>

#include "base/log/log.h"
#include "domain/input/client_message.h"
#include "store/wire/act.h"
#include "ws/deliver/page.h"
#include "ws/deliver/redelivery.h"
#include "ws/dialog/early.h"
#include "ws/dialog/reply.h"
#include "ws/encode/encode_cache.h"
#include "ws/encode/encode_parts.h"
#include "ws/encode/encode_sse.h"
#include "ws/encode/encode_websocket.h"
#include "ws/identity/session_audit.h"
#include "ws/metrics/node_metrics.h"
#include "ws/session/session_output.h"
#include "ws/subscribe/arrival.h"
#include "ws/subscribe/subscribe_request.h"

/* ---- its subscriptions */

void stream_refused(struct subscription *sub, enum err why)
{
	struct session *s = sub->session;

	session_audit_subscribe(s, subscription_topic(sub), act_outcome_text(why));
	if (why != ERR_FORBIDDEN && why != ERR_NOT_FOUND) {
		node_count_refused(s->node, REFUSED_DATABASE);
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	node_count_refused(s->node, REFUSED_FORBIDDEN);
	if (s->dialog.diagnosis_id == 0)
		s->end.refused_topic = subscription_topic(sub);
	/* The same words for what is not there and what is somebody else's; those who may publish everywhere may know. */
	if (s->role == ROLE_SERVICE)
		s->end.detail = ROLE_SERVICE_READS_NOTHING;
	session_refuse(s, why == ERR_NOT_FOUND && s->role >= ROLE_SERVICE ? 404 : 403, CLOSE_POLICY,
		       s->end.detail ? s->end.detail : "not allowed");
}

/* Of a WebSocket: what its request did not name, its client has asked for since. */
static void topic_refused(struct subscription *sub, enum err why)
{
	if (sub->session->greeted)
		subscribe_request_refused(sub, why);
	else
		stream_refused(sub, why);
}

static bool counted(struct subscription *sub)
{
	redelivery_ask(sub);
	session_audit_subscribe(sub->session, subscription_topic(sub), "ok");
	return true;
}

static bool topic_counted(struct subscription *sub)
{
	if (!sub->session->greeted)
		return counted(sub);
	subscribe_request_welcome(sub);
	return false;
}

void stream_page(struct subscription *sub, struct page *page)
{
	const struct mark *marks = (const struct mark *)(const void *)page->marks.bytes;
	struct session *s = sub->session;

	/* The last is for all of them; those for this user alone are written down one by one. */
	for (size_t i = 0; i < page->marks.len / sizeof(*marks); i++)
		if (marks[i].private_seq > 0 || marks[i].held_end == 0)
			session_add_mark(s, &marks[i]);
	session_write(s, &page->bytes);
	session_given(sub);
}

static enum hub_written deliver_events(struct subscription *sub, struct span frames, const struct mark *mark)
{
	struct session *s = sub->session;
	struct span events = encode_cache_bytes(s->node->fanout.event_cache, sub, frames);

	if (events.bytes)
		return session_write_now(s, events, mark);
	session_close(s, CLOSE_TRY_LATER, "try again later");
	return HUB_KEPT;
}

/* ---- what the client of a WebSocket says */

/* The answer to a message. */
static void answer(struct session *s, enum dialog_verdict verdict, struct buf *reply)
{
	if (!buf_ok(reply)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		buf_free(reply);
		return;
	}
	switch (verdict) {
	case DIALOG_GO_ON:
		/* Nothing comes before `connect`. */
		if (reply->len > 0 && s->greeted)
			session_send(s, reply);
		else if (reply->len > 0)
			session_hold(s, reply);
		break;
	case DIALOG_TOPICS:
		break;
	case DIALOG_AUTHENTICATE:
		arrival_authenticate(s, reply->bytes ? reply->bytes : "", reply->len);
		break;
	case DIALOG_TOO_MANY_BAD:
		session_close_bad(s);
		break;
	}
	buf_free(reply);
}

static void count_heard(const struct session *s)
{
	static const enum client_type types[] = {[DIALOG_PING] = CLIENT_PING,
						 [DIALOG_ACK] = CLIENT_ACK,
						 [DIALOG_TOKEN] = CLIENT_AUTHENTICATE,
						 [DIALOG_SUBSCRIBE] = CLIENT_SUBSCRIBE,
						 [DIALOG_UNSUBSCRIBE] = CLIENT_UNSUBSCRIBE};
	const struct metrics *m = &s->node->metrics;

	if (s->dialog.heard == DIALOG_NOTHING)
		metrics_add(m, METRIC_CLIENT_MESSAGES_REFUSED, MESSAGE_INVALID, 0, 1);
	else
		metrics_add(m, METRIC_CLIENT_MESSAGES, types[s->dialog.heard], 0, 1);
}

/* An ack without a topic is about the one that the connection has. */
static void confirm(struct session *s, const struct dialog_ack *ack)
{
	struct subscription *sub = session_find(s, ack->topic);

	if (ack->topic[0] == '\0' && s->subscriptions.count == 1)
		sub = s->subscriptions.items[0];
	if (sub && sub->state >= SUBSCRIPTION_CATCHING)
		subscription_confirm(sub, ack->seq);
}

/* `subscribe` or `unsubscribe`, of a topic by its name. */
static void hear_topics(struct session *s, struct span text)
{
	struct client_message m = CLIENT_MESSAGE_NONE;
	struct client_fault fault = CLIENT_FAULT_NONE;
	enum err e = client_message_read(&m, text, &fault);

	if (e == ERR_INPUT)
		reply_refuse_fault(s, &fault, m.correlation_id.bytes);
	else if (e != OK)
		reply_error(s, "unavailable", "The server is short of memory.", NULL);
	else if (!topic_name_usable(m.subscription, strlen(m.subscription)))
		reply_refuse(s, "unknown_subscription", "This is no name of a topic.", m.correlation_id.bytes);
	else if (m.type == CLIENT_SUBSCRIBE)
		subscribe_request_add(s, &m, m.subscription);
	else
		subscribe_request_end(s, &m, m.subscription);
	problem_free(&fault.problem);
	client_message_free(&m);
}

/* `connect` has been said, before which nothing comes. */
static void welcomed(struct session *s)
{
	early_hear(s, hear_topics);
}

/* Some of its topics it wants some types of. */
static bool wants_types(const struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (s->subscriptions.items[i]->types)
			return true;
	return false;
}

static void receive(struct session *s, struct span text)
{
	struct buf reply = BUF_EMPTY, cursor = BUF_EMPTY;
	struct dialog_ack ack;
	enum dialog_verdict verdict;

	/* A client of some types learns by it how far it is. */
	if (s->greeted && wants_types(s))
		encode_cursor(&cursor, s);
	s->dialog.cursor = buf_ok(&cursor) ? cursor.bytes : NULL;
	s->dialog.ack = &ack;
	verdict = dialog_receive(&s->dialog, &s->node->dialog_limits, text, s->times.heard_ms * 1000, clock_wall_us(),
				 &reply);
	s->dialog.cursor = NULL;
	s->dialog.ack = NULL;
	buf_free(&cursor);
	count_heard(s);
	if (s->dialog.heard == DIALOG_ACK)
		confirm(s, &ack);
	if (verdict == DIALOG_TOPICS && s->greeted)
		hear_topics(s, text);
	else if (verdict == DIALOG_TOPICS)
		early_keep(s, text);
	answer(s, verdict, &reply);
}

static void refuse_rate(struct session *s)
{
	struct buf reply = BUF_EMPTY;
	enum dialog_verdict verdict =
		dialog_refuse_rate(&s->dialog, &s->node->dialog_limits, s->times.heard_ms * 1000, &reply);

	answer(s, verdict, &reply);
}

const struct session_kind kind_websocket = {
	.transport = CLIENT_WEBSOCKET,
	.encoder = &encoder_websocket,
	.size = sizeof(struct session),
	.is.duplex = true,
	.begin = arrival_let_in,
	.receive = receive,
	.refuse_rate = refuse_rate,
	.welcomed = welcomed,
	.refused = topic_refused,
	.counted = topic_counted,
	.page = stream_page,
};

const struct session_kind kind_sse = {
	.transport = CLIENT_SSE,
	.encoder = &encoder_sse,
	.size = sizeof(struct session),
	.begin = arrival_let_in,
	.refused = stream_refused,
	.counted = counted,
	.page = stream_page,
	.deliver = deliver_events,
};
