#include "ws/subscribe/stream.h"

#include <string.h>

#include "base/log/log.h"
#include "domain/input/client_type.h"
#include "store/wire/act.h"
#include "ws/deliver/page.h"
#include "ws/deliver/redelivery.h"
#include "ws/encode/encode_cache.h"
#include "ws/encode/encode_parts.h"
#include "ws/encode/encode_sse.h"
#include "ws/encode/encode_websocket.h"
#include "ws/identity/session_audit.h"
#include "ws/metrics/node_metrics.h"
#include "ws/session/session_output.h"
#include "ws/subscribe/arrival.h"

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

static bool counted(struct subscription *sub)
{
	redelivery_ask(sub);
	session_audit_subscribe(sub->session, subscription_topic(sub), "ok");
	return true;
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
	static const enum client_type types[] = {
		[DIALOG_PING] = CLIENT_PING, [DIALOG_ACK] = CLIENT_ACK, [DIALOG_TOKEN] = CLIENT_AUTHENTICATE};
	const struct metrics *m = &s->node->metrics;

	if (s->dialog.heard == DIALOG_NOTHING)
		metrics_add(m, METRIC_CLIENT_MESSAGES_REFUSED, MESSAGE_INVALID, 0, 1);
	else
		metrics_add(m, METRIC_CLIENT_MESSAGES, types[s->dialog.heard], 0, 1);
}

/* An ack without a topic is about the one that the connection has. */
static void confirm(struct session *s, const struct dialog_ack *ack)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++) {
		struct subscription *sub = s->subscriptions.items[i];
		bool meant = ack->topic[0] != '\0' ? strcmp(ack->topic, subscription_topic(sub)) == 0
						   : s->subscriptions.count == 1;

		if (meant && sub->state >= SUBSCRIPTION_CATCHING)
			subscription_confirm(sub, ack->seq);
	}
}

static void receive(struct session *s, struct span text)
{
	struct buf reply = BUF_EMPTY, cursor = BUF_EMPTY;
	struct dialog_ack ack;
	enum dialog_verdict verdict;

	/* A client of some types learns by it how far it is: the types are the connection's, and so each subscription's. */
	if (s->greeted && s->subscriptions.items[0]->types)
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
	.duplex = true,
	.begin = arrival_let_in,
	.receive = receive,
	.refuse_rate = refuse_rate,
	.refused = stream_refused,
	.counted = counted,
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
