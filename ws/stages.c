#include "ws/stages.h"

#include <stdlib.h>
#include <string.h>

#include "base/log/log.h"
#include "domain/http/problem.h"
#include "store/sidecar/sql_live.h"
#include "store/wire/act.h"
#include "ws/audit.h"
#include "ws/catch_up.h"
#include "ws/edition.h"
#include "ws/feed.h"
#include "ws/gate.h"
#include "ws/grace.h"
#include "ws/http_socket.h"
#include "ws/identity.h"
#include "ws/ledger.h"
#include "ws/live.h"
#include "ws/sessions.h"
#include "ws/strangers.h"
#include "ws/user.h"
#include "ws/voices.h"

static void welcome(struct session *s);

/*
 * It was here a moment ago, and may have its topics: nobody has to be asked. (What the tail does not have yet comes
 * soon; a poll that cannot wait for it asks the database.)
 */
static bool goes_on(struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		if (!subscription_can_resume(s->subscriptions[i], s->opened_ms))
			return false;
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		subscription_resume(s->subscriptions[i]);
	return true;
}

static void attach(struct session *s)
{
	struct node *n = s->node;
	bool is_back;

	s->dialog.identified = true;
	session_open(s);
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		s->subscriptions[i]->subscriber.reader.user_id = s->user ? s->user->id : NULL;
	is_back = s->voice == &voice_poll && grace_take(n->grace, s);
	if (s->state == SESSION_CLOSING)
		return;
	if (!is_back && s->voice == &voice_poll)
		audit_connect(s);
	if (!is_back && s->user)
		audit_authenticate(s, "ok");
	if (is_back && s->opened_ms < s->timeout_ms && goes_on(s)) {
		welcome(s);
		return;
	}
	if (!gate_can_ask(n->gate)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	identity_charge(s);
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		gate_ask(n->gate, s->subscriptions[i]);
}

void stages_authenticate(struct session *s, const char *token, size_t len)
{
	if (!identity_take(s, token, len, (size_t)s->node->config->user_connections_max)) {
		if (s->voice == &voice_poll)
			audit_connect(s);
		audit_authenticate(s, s->close_reason);
		return;
	}
	attach(s);
}

/* A place is free, or may become so: one that brings a token may have a stranger's. */
static bool has_place(const struct session *s, const struct arrival *a)
{
	const struct node *n = s->node;

	return !sessions_are_too_many(n) || (a->token && n->strangers_count > 0);
}

/* A WebSocket may say later who it is. */
static bool may_come_without(const struct session *s)
{
	return s->node->config->anonymous || s->voice->frames_as_they_are;
}

struct session *stages_begin(struct node *n, const struct transport *transport, void *socket, const struct arrival *a)
{
	struct session *s = session_new(n, transport, a->voice);

	if (!s)
		return NULL;
	s->socket = socket;
	s->endpoint = a->endpoint;
	/* A poller that comes back was connected all the time. */
	if (a->voice != &voice_poll)
		audit_connect(s);
	s->dialog.diagnosis_id = a->selection ? a->selection->diagnosis_id : 0;
	s->keep_alive = a->keep_alive;
	s->inflates = a->inflates;
	s->allowed_origin = a->allowed_origin ? strdup(a->allowed_origin) : NULL;
	if (a->voice == &voice_poll)
		s->timeout_ms = s->opened_ms + a->timeout_s * 1000;
	if (a->selection && !session_subscribe(s, a->selection)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
	} else if (n->draining) {
		session_close(s, CLOSE_RESTART, "this server is going away: reconnect");
	} else if (!has_place(s, a)) {
		log_info("full connections=%zu", n->sessions_count - n->closing_count - 1);
		session_close(s, CLOSE_TRY_LATER, "full: try again later");
	} else if (a->endpoint) {
		live_begin(s, a->token);
	} else if (a->token) {
		stages_authenticate(s, a->token, strlen(a->token));
	} else if (n->config->anonymous) {
		attach(s);
	} else if (!may_come_without(s)) {
		s->close_detail = PROBLEM_NO_TOKEN;
		session_refuse(s, 401, CLOSE_POLICY, "authentication failed");
	} else {
		strangers_add(s);
	}
	return s;
}

void stages_end(struct session *s)
{
	struct node *n = s->node;

	for (unsigned i = 0; i < s->subscriptions_count; i++)
		ledger_closed(n->ledger, s->subscriptions[i]);
	if (s->self)
		ledger_closed(n->ledger, s->self);
	if (!s->kept)
		audit_disconnect(s);
	session_end(s);
}

/*
 * A poller that has got what there was, or that there is nothing. Not one that waits for a page: its subscription is in
 * a queue of catch_up's, and the next poll would put it into gate's as well.
 */
static bool will_be_back(const struct session *s)
{
	return s->voice == &voice_poll && s->greeted && !s->asking && !s->leaves_no_place && !s->broken &&
	       !s->node->draining && (s->close_code == 0 || s->close_code == CLOSE_NORMAL);
}

/* An HTTP reply is out, to its end: the session is over, and its socket may serve another request. */
static void end_reply(struct session *s)
{
	struct http_socket *h = s->socket;
	struct node *n = s->node;
	bool keep_alive = s->keep_alive && !s->broken && !n->draining;
	struct buf early;
	struct line *line = http_socket_release(&h, &early);

	s->kept = will_be_back(s) && grace_keep(n->grace, s);
	stages_end(s);
	n->reply_done(n, line, keep_alive, &early);
	buf_free(&early);
}

/* Its socket takes bytes: what it missed first, then what came meanwhile, each subscription in its turn. */
static void go_on(struct session *s)
{
	catch_up_go_on(s->node->catch_up, s);
	for (unsigned i = 0; i < s->subscriptions_count && session_is_clear(s); i++) {
		struct subscription *sub = session_turn(s, i);

		if (sub->state == SUBSCRIPTION_LIVE)
			hub_writable(s->node->hub, &sub->subscriber, clock_monotonic_ms());
	}
	feed_run(s->node->feed);
}

void stages_writable(struct session *s)
{
	bool clear = session_drained(s);

	if (clear && s->state == SESSION_CLOSING && s->close_sent && !s->voice->frames_as_they_are)
		end_reply(s);
	else if (clear && s->state == SESSION_OPEN && s->greeted)
		go_on(s);
}

void stages_behind(struct subscription *sub)
{
	sub->state = SUBSCRIPTION_CATCHING;
	catch_up_go_on(sub->session->node->catch_up, sub->session);
}

/* ---- its way through the states */

/* False: no memory, or it is here with another numbering. */
static bool hold_topic(struct subscription *sub, const struct attach_row *row)
{
	struct session *s = sub->session;
	struct hub *h = s->node->hub;
	struct hub_topic *t;
	enum err e = hub_hold(h, &t, row->topic_id, sub->wanted->topic, row->epoch, row->last_seq, row->delivered_seq);

	/* One that was here a moment ago holds it already. */
	if (e == OK && sub->subscriber.topic == t) {
		hub_let_go(h, t);
	} else if (e == OK && sub->subscriber.topic) {
		hub_let_go(h, t);
		e = ERR_CONFLICT;
	}
	if (e == OK) {
		sub->subscriber.topic = t;
		return true;
	}
	/* On a conflict the heartbeat is about to send away those who are on the old one. */
	if (e == ERR_CONFLICT)
		session_close(s, CLOSE_RESTART, "reconnect");
	else
		session_close(s, CLOSE_TRY_LATER, "try again later");
	return false;
}

void stages_attached(struct subscription *sub, const struct attach_row *row)
{
	struct node *n = sub->session->node;
	struct hub_topic *here = hub_find(n->hub, row->topic_id);
	bool new = !here;

	/* Whether it may was looked up before somebody's right was withdrawn: perhaps its own. */
	if (here && strcmp(here->epoch, row->epoch) == 0 && row->last_seq < here->revoked_seq) {
		if (sub->asked_again_seq < here->revoked_seq) {
			sub->asked_again_seq = here->revoked_seq;
			gate_ask(n->gate, sub);
			return;
		}
		/* Asked after that was announced, the database has no such message. */
		log_warning("a right was said to end where there is no message topic=%s", here->name);
		here->revoked_seq = row->last_seq;
	}
	sub->asked_again_seq = 0;
	if (!hold_topic(sub, row))
		return;
	sub->allowed_ms = clock_monotonic_ms();
	subscription_find_place(sub, row, (uint64_t)n->config->queue_max);
	/* What was committed since the answer was made rang when nobody here listened. */
	if (new || row->last_seq > tail_seq(sub->subscriber.topic->tail))
		feed_ring(n->feed, row->topic_id);
	sub->state = SUBSCRIPTION_COUNTING;
	if (sub->written_down)
		stages_counted(sub);
	else
		ledger_opened(n->ledger, sub);
}

/* All of it is counted: it is told that it is connected, and gets what it missed. */
static void welcome(struct session *s)
{
	struct buf text = BUF_EMPTY;

	s->voice->welcome(&text, s);
	s->greeted = buf_ok(&text);
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		subscription_catch_up(s->subscriptions[i]);
	session_set_deadline(s, clock_monotonic_ms());
	if (text.len > 0 || !buf_ok(&text))
		session_write(s, &text);
	buf_free(&text);
	session_send_held(s);
	catch_up_go_on(s->node->catch_up, s);
}

void stages_refused(struct subscription *sub, enum err why)
{
	struct session *s = sub->session;

	if (s->endpoint) {
		live_refused(sub, why);
		return;
	}
	audit_subscribe(s, subscription_topic(sub), act_outcome_text(why));
	if (why != ERR_FORBIDDEN && why != ERR_NOT_FOUND) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	if (s->dialog.diagnosis_id == 0)
		s->refused_topic = subscription_topic(sub);
	/* The same words for what is not there and what is somebody else's; those who may publish everywhere may know.
	 */
	if (s->role == ROLE_SERVICE)
		s->close_detail = ROLE_SERVICE_READS_NOTHING;
	session_refuse(s, why == ERR_NOT_FOUND && s->role >= ROLE_SERVICE ? 404 : 403, CLOSE_POLICY,
		       s->close_detail ? s->close_detail : "not allowed");
}

/* A user whose notifications go again. */
struct returning {
	struct node *node;
	char user_id[];
};

/* As if they had sent them themselves: who comes back again and again has all of them written again and again. */
static void on_redelivered(void *context, enum err e, int64_t count)
{
	struct returning *r = context;

	if (e == OK && count > 0)
		identity_charge_more(r->node, r->user_id, act_cost(1 + count));
	free(r);
}

/*
 * Who is back for their own notifications gets the critical ones that are not acked again (spec section 6). A poller is
 * back all the time: it gets them in their turns.
 */
static void redeliver(const struct subscription *sub)
{
	static const char prefix[] = "notifications/";
	const char *topic = subscription_topic(sub);
	struct session *s = sub->session;
	struct returning *r;
	size_t size;

	if (s->voice == &voice_poll || s->redelivered || !s->user || strncmp(topic, prefix, strlen(prefix)) != 0 ||
	    strcmp(topic + strlen(prefix), s->user->id) != 0)
		return;
	s->redelivered = true;
	size = strlen(s->user->id) + 1;
	r = calloc(1, sizeof(*r) + size);
	if (r) {
		r->node = s->node;
		memcpy(r->user_id, s->user->id, size);
	}
	if (!r || sql_redeliver(s->node->pipeline, s->user->id, on_redelivered, r) != OK) {
		log_info("critical notifications wait for their next turn: no memory, or the database is away");
		free(r);
	}
}

void stages_counted(struct subscription *sub)
{
	sub->state = SUBSCRIPTION_COUNTED;
	redeliver(sub);
	if (sub->session->endpoint) {
		live_counted(sub);
		return;
	}
	/* A poller's, which is asked for anew now and then, has been there all the time. */
	if (!sub->audited)
		audit_subscribe(sub->session, subscription_topic(sub), "ok");
	sub->audited = true;
	if (session_all_are(sub->session, SUBSCRIPTION_COUNTED))
		welcome(sub->session);
}

/* ---- what it is given */

static void answer_poll(struct session *s)
{
	struct buf reply = BUF_EMPTY;

	voice_poll_reply(&reply, s, (struct span){0});
	session_finish(s, &reply);
}

#define POLL_BYTES 262144 /* of messages in a reply, from when on it goes out */

/* A poll's page waits for its reply, with a mark for each message: they may expire meanwhile. */
static void hold_page(struct session *s, const struct page *page)
{
	const struct mark *marks = (const struct mark *)(const void *)page->marks.bytes;
	size_t begin;

	if (s->held.len > 0)
		buf_add_text(&s->held, ",");
	begin = s->held.len;
	buf_add(&s->held, page->bytes.bytes, page->bytes.len);
	for (size_t i = 0; i < page->marks.len / sizeof(*marks); i++) {
		struct mark mark = marks[i];

		if (mark.held_end > 0)
			mark.held_end += begin;
		session_add_mark(s, &mark);
	}
	if (!buf_ok(&page->bytes) || !buf_ok(&s->marks))
		s->held.failed = true;
	session_charge(s);
	/* Where there is no room for more, what there is goes out; the next poll asks for the rest. */
	if (!buf_ok(&s->held))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	else if (s->held.len >= POLL_BYTES || !budget_has_room(&s->node->budget, POLL_BYTES))
		answer_poll(s);
}

void stages_page(struct subscription *sub, struct page *page)
{
	const struct mark *marks = (const struct mark *)(const void *)page->marks.bytes;
	struct session *s = sub->session;

	if (s->voice == &voice_poll) {
		hold_page(s, page);
		return;
	}
	/* The last is for all of them; those for this user alone are written down one by one. */
	for (size_t i = 0; i < page->marks.len / sizeof(*marks); i++)
		if (marks[i].private || marks[i].held_end == 0)
			session_add_mark(s, &marks[i]);
	session_write(s, &page->bytes);
}

/* With a cursor for each topic a poll may wait; else it takes what there is. */
static bool may_wait(const struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		if (!s->subscriptions[i]->resumes || !s->subscriptions[i]->recovered)
			return false;
	return s->held.len == 0 && clock_monotonic_ms() < s->timeout_ms;
}

static void go_live(struct subscription *sub)
{
	sub->welcomed = true;
	sub->state = SUBSCRIPTION_LIVE;
	hub_join(sub->session->node->hub, &sub->subscriber);
}

/* A poll's topic has been looked at: it is answered when all are, or waits. */
static void poll_caught_up(struct session *s, struct subscription *sub)
{
	if (s->waiting && s->held.len == 0) {
		go_live(sub);
		return;
	}
	sub->state = SUBSCRIPTION_CAUGHT_UP;
	if (!s->waiting && !session_all_are(s, SUBSCRIPTION_CAUGHT_UP))
		return;
	if (!may_wait(s)) {
		answer_poll(s);
		return;
	}
	s->waiting = true;
	/* One that has ended goes on no more. */
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		if (session_awaits(s->subscriptions[i], SUBSCRIPTION_CAUGHT_UP))
			go_live(s->subscriptions[i]);
}

void stages_caught_up(struct subscription *sub)
{
	struct node *n = sub->session->node;

	if (sub->session->voice == &voice_poll)
		poll_caught_up(sub->session, sub);
	else
		go_live(sub);
	feed_run(n->feed);
}

static enum hub_written deliver_in_words(struct subscription *sub, struct span frames, const struct mark *mark)
{
	struct session *s = sub->session;
	struct node *n = s->node;
	bool poll = s->voice == &voice_poll;
	struct span bytes = edition_bytes(poll ? n->replies : n->events, sub, frames);

	if (!bytes.bytes) {
		s->held.failed = true;
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return HUB_KEPT;
	}
	return poll ? session_finish_now(s, bytes, mark) : session_write_now(s, bytes, mark);
}

enum hub_written stages_deliver(struct subscription *sub, const struct delivery *d)
{
	struct session *s = sub->session;
	struct mark mark = {.topic_id = sub->subscriber.topic->id, .seq = d->last, .private = d->private};
	enum hub_written written = s->voice->frames_as_they_are ? session_write_now(s, d->bytes, &mark)
								: deliver_in_words(sub, d->bytes, &mark);

	if (written != HUB_SENT)
		session_pass_turn(s, sub);
	return written;
}
