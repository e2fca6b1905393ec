#include "ws/catch_up.h"

#include <stdlib.h>

#include "base/log.h"
#include "domain/message.h"
#include "store/calls.h"
#include "ws/feed.h"
#include "ws/ledger.h"
#include "ws/user.h"

#define PAGE_ROWS 500
#define PAGE_BYTES 262144 /* one larger message aside; well under the 1 MiB that many clients take in one message */
#define UNDER_WAY_MAX 8	  /* pages */

struct catch_up {
	struct node *node;
	void (*send_page)(struct session *s, struct buf *page);
	bool (*caught_up)(struct session *s);
	struct session_queue waiting; /* each with a reference */
	unsigned under_way;
};

struct page_request {
	struct catch_up *catch_up;
	struct session *session; /* with a reference */
};

enum err catch_up_new(struct catch_up **c, struct node *n, void (*send_page)(struct session *s, struct buf *page),
		      bool (*caught_up)(struct session *s))
{
	*c = calloc(1, sizeof(**c));
	if (!*c)
		return ERR_MEMORY;
	(*c)->node = n;
	(*c)->send_page = send_page;
	(*c)->caught_up = caught_up;
	STAILQ_INIT(&(*c)->waiting);
	return OK;
}

void catch_up_free(struct catch_up **c)
{
	if (!*c)
		return;
	session_queue_clear(&(*c)->waiting);
	free(*c);
	*c = NULL;
}

/*
 * A page in the making: one reconnect_messages message for who has just come, and plain messages for who was slow.
 */
struct page {
	struct catch_up *catch_up;
	struct session *session;
	struct buf bytes;
	unsigned count;
};

static void page_add(struct page *p, struct span message, bool private, uint64_t seq)
{
	struct session *s = p->session;

	if (s->welcomed) {
		s->voice->message(&p->bytes, s, message);
	} else {
		if (p->count == 0)
			s->voice->missed_begin(&p->bytes, s);
		s->voice->missed_add(&p->bytes, s, p->count == 0, message);
	}
	p->count++;
	if (private)
		ledger_sent(s->node->ledger, s->subscriber.topic->id, seq);
}

/* Writes it; the session then has everything up to `seq`. */
static void page_send(struct page *p, uint64_t seq)
{
	struct session *s = p->session;

	s->subscriber.seq = MAX(s->subscriber.seq, seq);
	if (p->count > 0) {
		if (!s->welcomed)
			s->voice->missed_end(&p->bytes, s);
		if (buf_ok(&p->bytes))
			hub_delivered(s->node->hub, s->subscriber.topic, seq);
		p->catch_up->send_page(s, &p->bytes);
	} else if (!buf_ok(&p->bytes)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
	}
	buf_free(&p->bytes);
}

static void page_add_stored(struct page *p, const struct stored_message *m)
{
	struct buf text = BUF_EMPTY;

	if (!m->body.bytes || !reader_may_have(&p->session->subscriber.reader, m->to_user, m->exclude))
		return;
	message_add(&text, m->seq, m->body.bytes, m->body.len);
	if (buf_ok(&text))
		page_add(p, (struct span){text.bytes, text.len}, m->to_user != NULL, m->seq);
	else
		p->bytes.failed = true;
	buf_free(&text);
}

static void on_page(void *context, enum err e, const struct fetch_row *rows, size_t count);

static void start_waiting(struct catch_up *c)
{
	struct session *s;

	while (c->under_way < UNDER_WAY_MAX && c->node->pending_bytes < c->node->config->catch_up_max_bytes &&
	       (s = STAILQ_FIRST(&c->waiting))) {
		struct page_request *r;
		enum err e = ERR_MEMORY;

		STAILQ_REMOVE_HEAD(&c->waiting, queue);
		if (!s->socket || s->state != SESSION_CATCHING) {
			s->asking = false;
			session_unref(s);
			continue;
		}
		r = malloc(sizeof(*r));
		if (r) {
			int64_t id = s->subscriber.topic->id, after = (int64_t)s->subscriber.seq;

			*r = (struct page_request){c, s};
			if (s->unsent)
				e = calls_unsent(c->node->pipeline, id, s->user->id, s->unsent_up_to, on_page, r);
			else
				e = calls_fetch(c->node->pipeline, &id, &after, 1, PAGE_ROWS, PAGE_BYTES, on_page, r);
		}
		if (e != OK) {
			free(r);
			s->asking = false;
			session_close(s, CLOSE_TRY_LATER, "try again later");
			session_unref(s);
			continue;
		}
		c->under_way++;
	}
}

static void on_page(void *context, enum err e, const struct fetch_row *rows, size_t count)
{
	struct page_request r = *(struct page_request *)context;
	struct session *s = r.session;
	struct catch_up *c = r.catch_up;

	free(context);
	c->under_way--;
	s->asking = false;
	if (s->socket && s->state == SESSION_CATCHING && e != OK) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
	} else if (s->socket && s->state == SESSION_CATCHING) {
		struct page page = {.catch_up = c, .session = s};
		uint64_t newest = tail_seq(s->subscriber.topic->tail), reached = s->subscriber.seq;

		if (s->unsent) {
			s->unsent = false;
		} else if (count == 0 || rows[0].message.seq != s->subscriber.seq + 1) {
			/* Gone from the database too: by its cursor it will be told so when it comes back. */
			session_close(s, CLOSE_TRY_LATER, "too far behind: reconnect with a cursor");
			count = 0;
		}
		/* What is newer than the tail comes by way of the tail. */
		for (size_t i = 0; i < count && rows[i].message.seq <= newest; i++) {
			page_add_stored(&page, &rows[i].message);
			reached = MAX(reached, rows[i].message.seq);
		}
		page_send(&page, reached);
		if (session_is_clear(s))
			catch_up_go_on(c, s);
	}
	session_unref(s);
	start_waiting(c);
}

static void ask(struct catch_up *c, struct session *s)
{
	/* A socket that drains, or that libwebsockets has just answered a ping on, comes by here again meanwhile. */
	if (s->asking)
		return;
	s->asking = true;
	session_ref(s);
	STAILQ_INSERT_TAIL(&c->waiting, s, queue);
	start_waiting(c);
}

static void page_from_tail(struct catch_up *c, struct session *s)
{
	const struct tail *t = s->subscriber.topic->tail;
	struct page page = {.catch_up = c, .session = s};
	uint64_t seq = s->subscriber.seq;

	while (seq < tail_seq(t) && page.bytes.len < PAGE_BYTES && page.count < PAGE_ROWS) {
		bool private;
		struct span message = tail_message(t, ++seq, &s->subscriber.reader, &private);

		if (message.len > 0)
			page_add(&page, message, private, seq);
	}
	page_send(&page, seq);
}

void catch_up_go_on(struct catch_up *c, struct session *s)
{
	while (s->state == SESSION_CATCHING && session_is_clear(s)) {
		const struct tail *t = s->subscriber.topic->tail;

		if (s->unsent || s->subscriber.seq < tail_floor(t)) {
			ask(c, s);
			return;
		}
		if (s->subscriber.seq < tail_seq(t) && !s->welcomed) {
			page_from_tail(c, s);
			continue;
		}
		if (!c->caught_up(s))
			return;
		s->welcomed = true;
		s->state = SESSION_LIVE;
		hub_join(c->node->hub, &s->subscriber);
		feed_run(c->node->feed);
	}
}

void catch_up_resume(struct catch_up *c)
{
	start_waiting(c);
}
