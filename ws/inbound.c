#include "ws/inbound.h"

#include "base/log/log.h"
#include "domain/text/utf8.h"
#include "domain/websocket/inflate.h"
#include "ws/live.h"
#include "ws/session.h"
#include "ws/stages.h"

#define UNFINISHED_MAX (16 << 20) /* bytes of messages that have not come whole, in all sessions */
#define STRANGER_MAX 16384	  /* bytes of a message of a client without a user: `authenticate`, its token escaped */

static void close_bad(struct session *s)
{
	log_info("closing a client that sends bad messages");
	session_close(s, CLOSE_POLICY, "too many bad messages");
}

static bool take(struct session *s, int64_t cost)
{
	return dialog_take(&s->dialog, &s->node->dialog_limits, cost, s->heard_ms * 1000);
}

/* What has no answer is over the rate. */
static void bear(struct session *s)
{
	if (!dialog_bear(&s->dialog, &s->node->dialog_limits, s->heard_ms * 1000))
		close_bad(s);
}

bool inbound_control(struct session *s)
{
	if (s->state == SESSION_CLOSING)
		return true;
	if (take(s, RATE_ONE))
		return true;
	bear(s);
	return false;
}

/* The answer to a message on a connection that watches topics. */
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
		stages_authenticate(s, reply->bytes ? reply->bytes : "", reply->len);
		break;
	case DIALOG_TOO_MANY_BAD:
		close_bad(s);
		break;
	}
	buf_free(reply);
}

static void refuse_rate(struct session *s)
{
	struct buf reply = BUF_EMPTY;

	if (s->endpoint)
		live_refuse_rate(s);
	else
		answer(s, dialog_refuse_rate(&s->dialog, &s->node->dialog_limits, s->heard_ms * 1000, &reply), &reply);
}

static void hear(struct session *s, struct span text)
{
	struct buf reply = BUF_EMPTY;

	if (s->endpoint)
		live_receive(s, text);
	else
		answer(s,
		       dialog_receive(&s->dialog, &s->node->dialog_limits, text, s->heard_ms * 1000, clock_wall_us(),
				      &reply),
		       &reply);
}

static size_t message_max(const struct session *s)
{
	size_t len_max = (size_t)s->node->config->message_max_bytes;

	return s->user ? len_max : MIN(len_max, STRANGER_MAX);
}

/* False: it is no message, and the connection is closed. */
static bool unpack(struct session *s, struct buf *message)
{
	struct buf text = BUF_EMPTY;
	enum err e = inflater_add_text(s->node->inflater, &text, (struct span){message->bytes, message->len},
				       message_max(s));

	if (e == OK) {
		dialog_charge(&s->dialog, &s->node->dialog_limits,
			      MAX(0, dialog_cost(text.len) - dialog_cost(message->len)), s->heard_ms * 1000);
		buf_free(message);
		*message = text;
		return true;
	}
	buf_free(&text);
	if (e == ERR_TOO_LARGE)
		session_close(s, CLOSE_TOO_BIG, "message too large");
	else if (e == ERR_INPUT)
		session_close(s, CLOSE_UNREADABLE, "compressed, and damaged");
	else
		session_close(s, CLOSE_TRY_LATER, "try again later");
	return false;
}

/* A whole message, as it was sent. What waits until the client is let in is charged when it is heard. */
static void receive(struct session *s, struct buf *message)
{
	if (!live_keeps(s) && !take(s, dialog_cost(message->len))) {
		refuse_rate(s);
		return;
	}
	if (s->packed && !unpack(s, message))
		return;
	if (utf8_valid(message->bytes ? message->bytes : "", message->len))
		hear(s, (struct span){message->bytes ? message->bytes : "", message->len});
	else
		session_close(s, CLOSE_UNREADABLE, "not UTF-8");
}

/* The message is not whole: it waits, with its time. */
static void keep(struct session *s)
{
	struct node *n = s->node;

	session_keep_unfinished(s);
	while (n->unfinished_bytes > UNFINISHED_MAX) {
		log_info("closing the client whose message is unfinished for the longest: there are too many");
		session_close(TAILQ_FIRST(&n->unfinished), CLOSE_TRY_LATER, "try again later");
	}
}

void inbound_piece(struct session *s, const struct frame_piece *p)
{
	size_t len_max = message_max(s);
	struct buf message;

	if (s->state == SESSION_CLOSING)
		return;
	if (p->message.binary) {
		session_close(s, CLOSE_UNSUPPORTED, "text only");
		return;
	}
	if (p->first)
		s->packed = p->message.packed;
	else if (p->frame && !take(s, DIALOG_FRAGMENT_COST))
		bear(s);
	if (s->state == SESSION_CLOSING)
		return;
	buf_add(&s->in, p->bytes.bytes, p->bytes.len);
	if (s->in.len > (s->packed ? inflate_packed_max(len_max) : len_max)) {
		session_close(s, CLOSE_TOO_BIG, "message too large");
	} else if (!buf_ok(&s->in)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
	} else if (!p->last) {
		keep(s);
	} else {
		message = s->in;
		s->in = BUF_EMPTY;
		session_drop_unfinished(s);
		receive(s, &message);
		buf_free(&message);
	}
}
