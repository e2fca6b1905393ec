#include "ws/net/inbound.h"

#include "domain/text/utf8.h"
#include "domain/websocket/inflate.h"
#include "ws/metrics/node_metrics.h"
#include "ws/session/session_output.h"

#define UNFINISHED_MAX (16 << 20) /* bytes of messages that have not come whole, in all sessions */
#define STRANGER_MAX 16384	  /* bytes of a message of a client without a user: `authenticate`, its token escaped */

static bool take(struct session *s, int64_t cost)
{
	return dialog_take(&s->dialog, &s->node->dialog_limits, cost, s->times.heard_ms * 1000);
}

static void count_refused(const struct session *s, enum message_refusal why)
{
	metrics_add(&s->node->metrics, METRIC_CLIENT_MESSAGES_REFUSED, why, 0, 1);
}

/* What has no answer is over the rate. */
static void bear(struct session *s)
{
	count_refused(s, MESSAGE_RATE);
	if (!dialog_bear(&s->dialog, &s->node->dialog_limits, s->times.heard_ms * 1000))
		session_close_bad(s);
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

static size_t message_max(const struct session *s)
{
	size_t len_max = (size_t)s->node->config->message_max_bytes;

	return s->user ? len_max : MIN(len_max, STRANGER_MAX);
}

static void refuse_size(struct session *s)
{
	count_refused(s, MESSAGE_SIZE);
	session_close(s, CLOSE_TOO_BIG, "message too large");
}

/* False: it is no message, and the connection is closed. */
static bool unpack(struct session *s, struct buf *message)
{
	struct buf text = BUF_EMPTY;
	enum err e = inflater_add_text(s->node->fanout.inflater, &text, (struct span){message->bytes, message->len},
				       message_max(s));

	if (e == OK) {
		dialog_charge(&s->dialog, &s->node->dialog_limits,
			      MAX(0, dialog_cost(text.len) - dialog_cost(message->len)), s->times.heard_ms * 1000);
		buf_free(message);
		*message = text;
		return true;
	}
	buf_free(&text);
	if (e == ERR_TOO_LARGE)
		refuse_size(s);
	else if (e == ERR_INPUT)
		session_close(s, CLOSE_UNREADABLE, "compressed, and damaged");
	else
		session_close(s, CLOSE_TRY_LATER, "try again later");
	return false;
}

/* A whole message, as it was sent. What waits until the client is let in is charged when it is heard. */
static void receive(struct session *s, struct buf *message)
{
	if (!(s->kind->keeps_early && s->kind->keeps_early(s)) && !take(s, dialog_cost(message->len))) {
		count_refused(s, MESSAGE_RATE);
		s->kind->refuse_rate(s);
		return;
	}
	if (s->in.packed && !unpack(s, message))
		return;
	if (utf8_valid(message->bytes ? message->bytes : "", message->len))
		s->kind->receive(s, (struct span){message->bytes ? message->bytes : "", message->len});
	else
		session_close(s, CLOSE_UNREADABLE, "not UTF-8");
}

/* The message is not whole: it waits, with its time. */
static void keep(struct session *s)
{
	struct node *n = s->node;

	n->unfinished.bytes += (int64_t)s->in.bytes.size - (int64_t)s->in.charged;
	s->in.charged = s->in.bytes.size;
	if (s->in.begun_ms == 0) {
		s->in.begun_ms = s->times.heard_ms;
		TAILQ_INSERT_TAIL(&n->unfinished.begun, s, in.link);
		session_set_deadline(s, s->times.heard_ms);
	}
	session_charge(s);
	while (n->unfinished.bytes > UNFINISHED_MAX) {
		struct session *longest = TAILQ_FIRST(&n->unfinished.begun);

		session_log(longest, LOG_INFO_,
			    "closing the client whose message is unfinished for the longest: there are too many");
		session_close(longest, CLOSE_TRY_LATER, "try again later");
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
		s->in.packed = p->message.packed;
	else if (p->frame && !take(s, DIALOG_FRAGMENT_COST))
		bear(s);
	if (s->state == SESSION_CLOSING)
		return;
	buf_add(&s->in.bytes, p->bytes.bytes, p->bytes.len);
	if (s->in.bytes.len > (s->in.packed ? inflate_packed_max(len_max) : len_max)) {
		refuse_size(s);
	} else if (!buf_ok(&s->in.bytes)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
	} else if (!p->last) {
		keep(s);
	} else {
		message = s->in.bytes;
		s->in.bytes = BUF_EMPTY;
		session_drop_unfinished(s);
		receive(s, &message);
		buf_free(&message);
	}
}
