#include "ws/deliver/page.h"

#include "domain/topic/message.h"
#include "ws/metrics/node_metrics.h"
#include "ws/session/session.h"

static void add_mark(struct page *p, const struct mark *mark)
{
	buf_add(&p->marks, mark, sizeof(*mark));
	if (!buf_ok(&p->marks))
		p->bytes.failed = true;
}

void page_add(struct page *p, uint64_t seq, const struct tail_text *message)
{
	struct subscription *sub = p->subscription;
	const struct encoder *encoder = sub->session->kind->encoder;
	struct buf *bytes = &p->bytes;

	if (sub->at.welcomed) {
		encoder->message(bytes, sub, message->text);
	} else {
		if (p->count == 0)
			encoder->missed_begin(bytes, sub);
		encoder->missed_add(bytes, sub, p->count == 0, message->text);
	}
	p->count++;
	add_mark(p, &(struct mark){.topic_id = sub->subscriber.topic->id,
				   .seq = subscriber_delivers(&sub->subscriber, seq),
				   .private_seq = message->private ? seq : 0,
				   .expires_ms = message->expires_ms,
				   .held_end = bytes->len});
}

void page_send(struct page *p, uint64_t seq)
{
	struct subscription *sub = p->subscription;

	if (p->count > 0)
		add_mark(p, &(struct mark){.topic_id = sub->subscriber.topic->id,
					   .seq = subscriber_delivers(&sub->subscriber, seq)});
	sub->session->times.asked_ms = 0;
	if (buf_ok(&p->bytes))
		sub->subscriber.seq = MAX(sub->subscriber.seq, seq);
	if (!sub->at.welcomed)
		metrics_add(&sub->session->node->metrics, METRIC_RESUMED_MESSAGES, 0, 0, p->count);
	if (p->count > 0) {
		if (!sub->at.welcomed)
			sub->session->kind->encoder->missed_end(&p->bytes, sub);
		sub->session->kind->page(sub, p);
	} else if (!buf_ok(&p->bytes)) {
		session_close(sub->session, CLOSE_TRY_LATER, "try again later");
	}
	buf_free(&p->bytes);
	buf_free(&p->marks);
}

void page_add_stored(struct page *p, const struct stored_message *stored)
{
	const struct reader *reader = &p->subscription->subscriber.reader;
	struct buf text = BUF_EMPTY;

	if (!stored->body.bytes || !reader_may_have(reader, stored->to_user, stored->exclude))
		return;
	if (!message_types_have(reader->types, stored->body)) {
		subscriber_withhold(&p->subscription->subscriber, stored->seq, stored->seq);
		return;
	}
	message_add(&text, stored->seq, p->subscription->subscriber.topic->epoch, stored->body);
	if (buf_ok(&text))
		page_add(p, stored->seq,
			 &(struct tail_text){.text = {text.bytes, text.len},
					     .expires_ms = stored->expires_ms,
					     .private = stored->to_user != NULL});
	else
		p->bytes.failed = true;
	buf_free(&text);
}
