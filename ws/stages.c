#include "ws/stages.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "domain/frame.h"
#include "domain/utf8.h"
#include "ws/catch_up.h"
#include "ws/feed.h"
#include "ws/gate.h"
#include "ws/http_socket.h"
#include "ws/ledger.h"
#include "ws/user.h"
#include "ws/voices.h"

static void attach(struct session *s)
{
	s->dialog.identified = true;
	s->state = SESSION_ATTACHING;
	session_set_deadline(s, clock_monotonic_ms());
	if (pipeline_is_up(s->node->pipeline))
		gate_ask(s->node->gate, s);
	else
		session_close(s, CLOSE_TRY_LATER, "try again later");
}

static void authenticate(struct session *s, const char *token, size_t len)
{
	struct token_claims claims;
	const char *why = "";
	int full;

	if (token_verify(s->node->keys, token, len, clock_wall_us() / 1000000, &claims, &why) != OK) {
		log_info("refused a token diagnosis=%lld why=\"%s\"", (long long)s->dialog.diagnosis_id, why);
		session_refuse(s, 401, CLOSE_POLICY, "authentication failed");
		return;
	}
	s->user = user_enter(&s->node->users, claims.user_id, (size_t)s->node->config->user_connections_max, &full);
	if (!s->user) {
		if (full) {
			log_info("refused a connection: the user has as many as allowed");
			session_refuse(s, 429, CLOSE_POLICY, "too many connections");
		} else {
			session_close(s, CLOSE_TRY_LATER, "try again later");
		}
		return;
	}
	s->subscriber.reader.user_id = s->user->id;
	s->role = claims.role;
	s->expires_s = claims.expires_s;
	attach(s);
}

struct session *stages_begin(struct node *n, const struct transport *transport, void *socket, const struct arrival *a)
{
	struct session *s = session_new(n, transport, a->voice);

	if (!s)
		return NULL;
	s->socket = socket;
	s->dialog.diagnosis_id = a->diagnosis_id;
	s->keep_alive = a->keep_alive;
	s->allowed_origin = a->allowed_origin ? strdup(a->allowed_origin) : NULL;
	if (a->voice == &voice_poll)
		s->timeout_ms = s->opened_ms + a->timeout_s * 1000;
	if (a->cursor) {
		s->wanted = calloc(1, sizeof(*s->wanted));
		s->cursor_damaged = !s->wanted || cursor_parse(s->wanted, a->cursor, strlen(a->cursor)) != OK;
	}
	if (n->draining) {
		session_close(s, CLOSE_RESTART, "this server is going away: reconnect");
	} else if (n->sessions_count > (size_t)n->config->connections_max) {
		log_info("full connections=%zu", n->sessions_count - 1);
		session_close(s, CLOSE_TRY_LATER, "full: try again later");
	} else if (a->token) {
		authenticate(s, a->token, strlen(a->token));
	} else if (n->config->anonymous) {
		attach(s);
	} else if (s->voice != &voice_websocket) {
		/* Only a WebSocket can say later who it is. */
		session_refuse(s, 401, CLOSE_POLICY, "authentication failed");
	}
	return s;
}

void stages_end(struct session *s)
{
	struct catch_up *c = s->node->catch_up;

	ledger_closed(s->node->ledger, s);
	session_end(s);
	catch_up_resume(c);
}

/* An HTTP reply is out, to its end: the session is over, and its socket may serve another request. */
static void end_reply(struct session *s)
{
	struct http_socket *h = s->socket;
	struct node *n = s->node;
	bool keep_alive = s->keep_alive && !s->broken && !n->draining;
	struct buf early = BUF_EMPTY;
	int fd = http_socket_release(&h, &early);

	stages_end(s);
	n->reply_done(n, fd, keep_alive, &early);
	buf_free(&early);
}

void stages_writable(struct session *s)
{
	struct catch_up *c = s->node->catch_up;
	bool clear = session_drained(s);

	if (clear && s->state == SESSION_CLOSING && s->close_sent && s->voice != &voice_websocket) {
		end_reply(s);
	} else if (clear && s->state == SESSION_CATCHING) {
		catch_up_go_on(c, s);
	} else if (clear && s->state == SESSION_LIVE) {
		hub_writable(s->node->hub, &s->subscriber);
		feed_run(s->node->feed);
	}
	catch_up_resume(c);
}

void stages_behind(struct session *s)
{
	s->state = SESSION_CATCHING;
	catch_up_go_on(s->node->catch_up, s);
}

/* ---- what the client says */

static void receive_whole(struct session *s)
{
	struct buf reply = BUF_EMPTY;

	switch (dialog_receive(&s->dialog, &s->node->dialog_limits, (struct span){s->in.bytes, s->in.len},
			       s->heard_ms * 1000, clock_wall_us(), &reply)) {
	case DIALOG_GO_ON:
		/* Nothing comes before `connect`. */
		if (reply.len > 0 && (s->state == SESSION_CATCHING || s->state == SESSION_LIVE))
			session_send(s, &reply);
		else if (reply.len > 0)
			session_hold(s, &reply);
		break;
	case DIALOG_AUTHENTICATE:
		authenticate(s, reply.bytes ? reply.bytes : "", reply.len);
		break;
	case DIALOG_TOO_MANY_BAD:
		log_info("closing a client that sends bad messages");
		session_close(s, CLOSE_POLICY, "too many bad messages");
		break;
	}
	buf_free(&reply);
}

void stages_receive(struct session *s, const void *bytes, size_t len, bool final, bool binary)
{
	session_heard(s);
	if (s->state == SESSION_CLOSING)
		return;
	if (binary) {
		session_close(s, CLOSE_UNSUPPORTED, "text only");
		return;
	}
	buf_add(&s->in, bytes, len);
	if (s->in.len > (size_t)s->node->config->message_max_bytes)
		session_close(s, CLOSE_TOO_BIG, "message too large");
	else if (!buf_ok(&s->in))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	else if (final && !utf8_valid(s->in.bytes ? s->in.bytes : "", s->in.len))
		session_close(s, CLOSE_NOT_UTF8, "not UTF-8");
	else if (final)
		receive_whole(s);
	else
		return;
	buf_free(&s->in);
}

/* ---- its way through the states */

/* Where it goes on from: after the cursor that it brought, or after what some client has been sent. */
static void find_place(struct session *s, const struct attach_row *row)
{
	uint64_t delivered = MAX(row->delivered_seq, s->subscriber.topic->delivered_seq);
	uint64_t oldest = row->last_seq - MIN(row->last_seq, (uint64_t)s->node->config->queue_max);
	uint64_t floor = row->first_seq - 1;

	s->recovered = true;
	if (!s->wanted) {
		s->subscriber.seq = MIN(MAX(MAX(delivered, floor), oldest), row->last_seq);
		s->unsent = row->unsent;
		s->unsent_up_to = delivered;
	} else if (s->cursor_damaged || strcmp(s->wanted->epoch, row->epoch) != 0 || s->wanted->seq > row->last_seq) {
		s->recovered = false;
		s->subscriber.seq = MAX(floor, oldest);
	} else if (s->wanted->seq < floor) {
		s->recovered = false;
		s->missed_from = s->wanted->seq + 1;
		s->missed_to = floor;
		s->subscriber.seq = floor;
	} else {
		s->subscriber.seq = s->wanted->seq;
	}
	s->resumes = s->wanted != NULL;
	free(s->wanted);
	s->wanted = NULL;
}

void stages_attached(struct session *s, const struct attach_row *row)
{
	struct node *n = s->node;
	struct hub_topic *t;
	char name[TOPIC_NAME_MAX + 1];
	bool new = !hub_find(n->hub, row->topic_id);
	enum err e;

	topic_of_diagnosis(name, s->dialog.diagnosis_id);
	e = hub_hold(n->hub, &t, row->topic_id, name, row->epoch, row->last_seq, row->delivered_seq);
	if (e == ERR_CONFLICT) {
		/* The heartbeat is about to send away those who are on the old one. */
		session_close(s, CLOSE_RESTART, "reconnect");
		return;
	}
	if (e != OK) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	s->subscriber.topic = t;
	find_place(s, row);
	/* What was committed since the answer was made rang when nobody here listened. */
	if (new || row->last_seq > tail_seq(t->tail))
		feed_ring(n->feed, t->id);
	s->state = SESSION_COUNTING;
	ledger_opened(n->ledger, s);
}

void stages_counted(struct session *s)
{
	struct dialog_welcome w = {
		.user_id = s->user ? s->user->id : NULL,
		.connection_id = s->subscriber.reader.connection_id,
		.epoch = s->subscriber.topic->epoch,
		.seq = s->subscriber.seq,
		.recovered = s->recovered,
		.missed_from = s->missed_from,
		.missed_to = s->missed_to,
	};
	struct buf text = BUF_EMPTY;

	s->voice->welcome(&text, s, &w);
	s->greeted = true;
	s->state = SESSION_CATCHING;
	if (text.len > 0)
		session_write(s, &text);
	buf_free(&text);
	session_send_held(s);
	if (s->state == SESSION_CATCHING && session_is_clear(s))
		catch_up_go_on(s->node->catch_up, s);
}

/* ---- what it is given */

static void answer_poll(struct session *s, struct span messages)
{
	struct buf reply = BUF_EMPTY;

	voice_poll_reply(&reply, s, messages);
	session_finish(s, &reply);
}

void stages_page(struct session *s, struct buf *page)
{
	if (s->voice == &voice_poll)
		answer_poll(s, (struct span){page->bytes, page->len});
	else
		session_write(s, page);
}

bool stages_caught_up(struct session *s)
{
	/* Without a cursor a poll takes what there is; with one it may wait. */
	if (s->voice != &voice_poll || (s->resumes && s->recovered && clock_monotonic_ms() < s->timeout_ms))
		return true;
	answer_poll(s, (struct span){0});
	return false;
}

bool stages_deliver(struct session *s, struct span frames)
{
	struct buf bytes = BUF_EMPTY;
	struct span message;
	bool more = false;

	if (s->voice->frames_as_they_are)
		return session_write_now(s, frames);
	while (frame_next(&frames, &message))
		s->voice->message(&bytes, s, message);
	if (!buf_ok(&bytes))
		session_close(s, CLOSE_TRY_LATER, "try again later");
	else if (s->voice == &voice_poll)
		answer_poll(s, (struct span){bytes.bytes, bytes.len});
	else
		more = session_write_now(s, (struct span){bytes.bytes, bytes.len});
	buf_free(&bytes);
	return more;
}
