#include "ws/session.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "domain/frame.h"
#include "ws/catch_up.h"
#include "ws/feed.h"
#include "ws/gate.h"
#include "ws/ledger.h"
#include "ws/user.h"

#define WRITE_MAX 65536	   /* bytes in one write; what the kernel does not take of it, libwebsockets keeps */
#define REPLIES_MAX 262144 /* bytes of replies that wait for one socket, before it counts as too slow */
#define CLOSING_MS 5000	   /* for the close frame, and for the client's answer to it */

struct session *session_ref(struct session *s)
{
	s->refs++;
	return s;
}

void session_unref(struct session *s)
{
	if (--s->refs > 0)
		return;
	buf_free(&s->out);
	buf_free(&s->in);
	buf_free(&s->early);
	free(s->wanted);
	free(s);
}

/* ---- writing */

bool session_is_clear(const struct session *s)
{
	return s->wsi && s->state != SESSION_CLOSING && s->choked_ms == 0 && s->out.len == 0;
}

/* Without a word: the socket is broken, or nobody reads it. Never inside a callback: libwebsockets does it in its next turn. */
static void kill_socket(struct session *s)
{
	lws_set_timeout(s->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

static void set_deadline(struct session *s, int64_t now_ms);

static void choke(struct session *s)
{
	s->choked_ms = clock_monotonic_ms();
	set_deadline(s, s->choked_ms);
}

bool session_write_now(struct session *s, struct span bytes)
{
	if (!s->wsi || s->state == SESSION_CLOSING)
		return false;
	/* On an upgraded connection these bytes go out as they are: they are whole frames already. */
	if (lws_write(s->wsi, (unsigned char *)bytes.bytes, bytes.len, LWS_WRITE_HTTP) < 0) {
		choke(s);
		kill_socket(s);
		return false;
	}
	if (lws_partial_buffered(s->wsi)) {
		choke(s);
		return false;
	}
	return true;
}

static void charge(struct session *s)
{
	int64_t now = (int64_t)(s->out.len - s->out_at);

	catch_up_charge(s->node->catch_up, now - s->charged_bytes);
	s->charged_bytes = now;
}

/* As much of `out` as the socket takes. */
static void pump(struct session *s)
{
	bool more = true;

	while (more && s->out_at < s->out.len && s->choked_ms == 0) {
		struct span piece = {s->out.bytes + s->out_at, MIN(s->out.len - s->out_at, WRITE_MAX)};

		s->out_at += piece.len;
		more = session_write_now(s, piece);
	}
	if (s->out_at == s->out.len) {
		buf_free(&s->out);
		s->out_at = 0;
	}
	if (s->charged_bytes != (int64_t)(s->out.len - s->out_at))
		charge(s);
}

void session_write(struct session *s, struct buf *bytes)
{
	if (!s->wsi || s->state == SESSION_CLOSING) {
		buf_free(bytes);
		return;
	}
	if (s->out.len == 0) {
		s->out = *bytes;
		*bytes = BUF_EMPTY;
	} else {
		buf_add(&s->out, bytes->bytes, bytes->len);
		buf_free(bytes);
		if (s->out.len - s->out_at > REPLIES_MAX) {
			session_close(s, CLOSE_TRY_LATER, "reading too slowly");
			return;
		}
	}
	if (!buf_ok(&s->out)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	pump(s);
	if (!session_is_clear(s))
		hub_wait(s->node->hub, &s->subscriber);
}

static void add_frame(struct buf *to, const struct buf *text)
{
	uint8_t header[FRAME_HEADER_MAX];

	buf_add(to, header, frame_text_header(header, text->len));
	buf_add(to, text->bytes, text->len);
	if (!buf_ok(text))
		to->failed = true;
}

void session_send(struct session *s, const struct buf *text)
{
	struct buf frame = BUF_EMPTY;

	add_frame(&frame, text);
	session_write(s, &frame);
}

bool session_writable(struct session *s)
{
	s->choked_ms = 0;
	if (s->state == SESSION_CLOSING)
		return false;
	pump(s);
	if (!session_is_clear(s))
		return true;
	if (s->state == SESSION_CATCHING)
		catch_up_go_on(s->node->catch_up, s);
	else if (s->state == SESSION_LIVE)
		hub_writable(s->node->hub, &s->subscriber);
	return true;
}

void session_close(struct session *s, enum close_code code, const char *reason)
{
	if (!s->wsi || s->state == SESSION_CLOSING)
		return;
	hub_leave(&s->subscriber);
	s->state = SESSION_CLOSING;
	s->close_code = (uint16_t)code;
	s->close_reason = reason;
	log_debug("closing code=%d reason=\"%s\"", code, reason);
	lws_callback_on_writable(s->wsi);
	set_deadline(s, clock_monotonic_ms());
}

/* ---- deadlines */

static int64_t wall_to_monotonic_ms(int64_t wall_s, int64_t now_ms)
{
	return now_ms + wall_s * 1000 - clock_wall_us() / 1000;
}

static void set_deadline(struct session *s, int64_t now_ms)
{
	const struct config *c = s->node->config;
	int64_t due_ms;

	if (s->state == SESSION_CLOSING) {
		/* One that reads slowly may yet come to its close frame. */
		due_ms = now_ms + MAX(CLOSING_MS, s->choked_ms ? c->slow_s * 1000 : 0);
	} else {
		due_ms = MIN(s->heard_ms + c->idle_s * 1000, MAX(s->pinged_ms, s->heard_ms) + c->heartbeat_s * 1000);
		if (s->state == SESSION_NEW)
			due_ms = MIN(due_ms, s->opened_ms + c->authenticate_s * 1000);
		if (s->choked_ms)
			due_ms = MIN(due_ms, s->choked_ms + c->slow_s * 1000);
		if (s->expires_s)
			due_ms = MIN(due_ms, wall_to_monotonic_ms(s->expires_s, now_ms));
	}
	wheel_set(&s->node->wheel, &s->wheel, due_ms);
}

void session_due(struct session *s, int64_t now_ms)
{
	const struct config *c = s->node->config;

	if (s->state == SESSION_CLOSING) {
		kill_socket(s);
		return;
	}
	if (s->state == SESSION_NEW && now_ms >= s->opened_ms + c->authenticate_s * 1000) {
		session_close(s, CLOSE_POLICY, "authenticate not sent in time");
	} else if (s->expires_s && clock_wall_us() / 1000000 >= s->expires_s) {
		session_close(s, CLOSE_POLICY, "token expired");
	} else if (s->choked_ms && now_ms >= s->choked_ms + c->slow_s * 1000) {
		log_info("closing a client that reads too slowly topic=%s", s->subscriber.topic ? s->subscriber.topic->name : "");
		session_close(s, CLOSE_TRY_LATER, "reading too slowly");
	} else if (now_ms >= s->heard_ms + c->idle_s * 1000) {
		session_close(s, CLOSE_IDLE, "idle");
	} else if (now_ms >= s->heard_ms + 2 * c->heartbeat_s * 1000 && s->pinged_ms > s->heard_ms) {
		log_debug("dropping a client that does not answer");
		kill_socket(s);
		s->heard_ms = now_ms; /* once is enough */
		set_deadline(s, now_ms);
	} else {
		if (now_ms >= MAX(s->pinged_ms, s->heard_ms) + c->heartbeat_s * 1000) {
			s->pinged_ms = now_ms;
			if (session_is_clear(s) && !session_write_now(s, (struct span){FRAME_PING, FRAME_PING_SIZE}))
				hub_wait(s->node->hub, &s->subscriber);
		}
		set_deadline(s, now_ms);
	}
}

/* ---- who it is */

static void attach(struct session *s)
{
	s->dialog.identified = true;
	s->state = SESSION_ATTACHING;
	set_deadline(s, clock_monotonic_ms());
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
		session_close(s, CLOSE_POLICY, "authentication failed");
		return;
	}
	s->user = user_enter(&s->node->users, claims.user_id, (size_t)s->node->config->user_connections_max, &full);
	if (!s->user) {
		if (full) {
			log_info("refused a connection: the user has as many as allowed");
			session_close(s, CLOSE_POLICY, "too many connections");
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

struct session *session_new(struct node *n, struct lws *wsi, const struct arrival *a)
{
	struct session *s = calloc(1, sizeof(*s));
	uint8_t random[UUID_BYTES];

	if (!s || getrandom(random, sizeof(random), 0) != sizeof(random)) {
		free(s);
		return NULL;
	}
	s->refs = 1;
	s->node = n;
	s->wsi = wsi;
	s->dialog.diagnosis_id = a->diagnosis_id;
	s->subscriber.reader.connection_id = uuid_of_random(random);
	s->connected_us = clock_wall_us();
	s->opened_ms = s->heard_ms = clock_monotonic_ms();
	if (a->cursor) {
		s->wanted = calloc(1, sizeof(*s->wanted));
		s->cursor_damaged = !s->wanted || cursor_parse(s->wanted, a->cursor, strlen(a->cursor)) != OK;
	}
	TAILQ_INSERT_TAIL(&n->sessions, s, link);
	n->sessions_count++;
	n->sessions_opened++;
	set_deadline(s, s->opened_ms);

	if (n->draining)
		session_close(s, CLOSE_RESTART, "this server is going away: reconnect");
	else if (n->sessions_count > (size_t)n->config->connections_max) {
		log_info("full connections=%zu", n->sessions_count - 1);
		session_close(s, CLOSE_TRY_LATER, "full: try again later");
	} else if (a->token)
		authenticate(s, a->token, strlen(a->token));
	else if (n->config->anonymous)
		attach(s);
	return s;
}

void session_gone(struct session *s)
{
	struct node *n = s->node;

	hub_leave(&s->subscriber);
	ledger_closed(n->ledger, s);
	if (s->subscriber.topic)
		hub_let_go(n->hub, s->subscriber.topic);
	s->subscriber.topic = NULL;
	if (s->user)
		user_leave(&n->users, s->user);
	s->user = NULL;
	s->subscriber.reader.user_id = NULL;
	wheel_unset(&s->wheel);
	TAILQ_REMOVE(&n->sessions, s, link);
	n->sessions_count--;
	s->wsi = NULL;
	catch_up_charge(n->catch_up, -s->charged_bytes);
	s->charged_bytes = 0;
	session_unref(s);
}

/* ---- what the client says */

void session_heard(struct session *s)
{
	s->heard_ms = clock_monotonic_ms();
}

static void receive_whole(struct session *s)
{
	struct buf reply = BUF_EMPTY;

	switch (dialog_receive(&s->dialog, &s->node->dialog_limits, (struct span){s->in.bytes, s->in.len}, s->heard_ms * 1000,
			       clock_wall_us(), &reply)) {
	case DIALOG_GO_ON:
		/* Nothing comes before `connect`. */
		if (reply.len > 0 && (s->state == SESSION_CATCHING || s->state == SESSION_LIVE))
			session_send(s, &reply);
		else if (reply.len > 0)
			add_frame(&s->early, &reply);
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

bool session_receive(struct session *s, const void *bytes, size_t len, bool final, bool binary)
{
	session_heard(s);
	if (s->state == SESSION_CLOSING)
		return true;
	if (binary) {
		s->close_code = CLOSE_UNSUPPORTED;
		s->close_reason = "text only";
		return false;
	}
	buf_add(&s->in, bytes, len);
	if (s->in.len > (size_t)s->node->config->message_max_bytes) {
		s->close_code = CLOSE_TOO_BIG;
		s->close_reason = "message too large";
		return false;
	}
	if (!buf_ok(&s->in)) {
		s->close_code = CLOSE_FAULT;
		s->close_reason = "";
		return false;
	}
	if (final) {
		receive_whole(s);
		buf_free(&s->in);
	}
	return true;
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
	free(s->wanted);
	s->wanted = NULL;
}

void session_attached(struct session *s, const struct attach_row *row)
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

void session_counted(struct session *s)
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

	dialog_connect(&text, &s->dialog, &w, clock_wall_us());
	s->state = SESSION_CATCHING;
	session_send(s, &text);
	buf_free(&text);
	if (s->early.len > 0)
		session_write(s, &s->early);
	catch_up_go_on(s->node->catch_up, s);
}
