#include "ws/session.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/log.h"
#include "domain/frame.h"
#include "ws/user.h"

#define WRITE_MAX 65536	   /* bytes in one write; what the kernel does not take of it, libwebsockets keeps */
#define PENDING_MAX (1 << 20) /* bytes that wait for one socket, a page of what it missed and replies, before it counts as too slow */
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
	buf_free(&s->held);
	free(s->wanted);
	free(s);
}

/* ---- writing */

bool session_is_clear(const struct session *s)
{
	return s->wsi && s->state != SESSION_CLOSING && s->choked_ms == 0 && s->out.len == 0;
}

/* The socket is of no use any more. It is shut by the next tick: never inside a callback or the fan-out. */
static void give_up(struct session *s)
{
	s->broken = true;
	session_set_deadline(s, clock_monotonic_ms());
}

static void choke(struct session *s)
{
	s->choked_ms = clock_monotonic_ms();
	session_set_deadline(s, s->choked_ms);
}

bool session_write_now(struct session *s, struct span bytes)
{
	if (!s->wsi || s->state == SESSION_CLOSING)
		return false;
	/* On an upgraded connection these bytes go out as they are: they are whole frames already. */
	if (lws_write(s->wsi, (unsigned char *)bytes.bytes, bytes.len, LWS_WRITE_HTTP) < 0) {
		s->choked_ms = clock_monotonic_ms();
		give_up(s);
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

	s->node->pending_bytes += now - s->charged_bytes;
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
		if (s->out.len - s->out_at > PENDING_MAX) {
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

void session_hold(struct session *s, const struct buf *text)
{
	add_frame(&s->held, text);
}

void session_send_held(struct session *s)
{
	if (s->held.len > 0)
		session_write(s, &s->held);
}

static void send_close(struct session *s)
{
	uint8_t frame[FRAME_CLOSE_MAX];
	size_t len = frame_close(frame, s->close_code, s->close_reason);

	s->close_sent = true;
	if (lws_write(s->wsi, frame, len, LWS_WRITE_HTTP) < 0)
		s->broken = true;
	/* Now the client has its time to answer. */
	session_set_deadline(s, clock_monotonic_ms());
}

bool session_drained(struct session *s)
{
	s->choked_ms = 0;
	if (s->state == SESSION_CLOSING) {
		if (!s->close_sent)
			send_close(s);
		return false;
	}
	pump(s);
	return session_is_clear(s);
}

bool session_close_sent(const struct session *s)
{
	return s->close_sent;
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
	session_set_deadline(s, clock_monotonic_ms());
}

/* ---- deadlines */

static int64_t wall_to_monotonic_ms(int64_t wall_s, int64_t now_ms)
{
	return now_ms + wall_s * 1000 - clock_wall_us() / 1000;
}

void session_set_deadline(struct session *s, int64_t now_ms)
{
	const struct config *c = s->node->config;
	int64_t due_ms;

	if (s->broken) {
		due_ms = now_ms;
	} else if (s->state == SESSION_CLOSING) {
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

	/* A peer that is silent for two heartbeats is not there any more. */
	bool silent = now_ms >= s->heard_ms + 2 * c->heartbeat_s * 1000 && s->pinged_ms > s->heard_ms;

	if (s->broken || s->state == SESSION_CLOSING || silent) {
		/* Of its own ways to close a socket, libwebsockets would wait in each for what is still to be written. */
		shutdown(lws_get_socket_fd(s->wsi), SHUT_RDWR);
		wheel_set(&s->node->wheel, &s->wheel, now_ms + CLOSING_MS);
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
	} else {
		if (now_ms >= MAX(s->pinged_ms, s->heard_ms) + c->heartbeat_s * 1000) {
			s->pinged_ms = now_ms;
			if (session_is_clear(s) && !session_write_now(s, (struct span){FRAME_PING, FRAME_PING_SIZE}))
				hub_wait(s->node->hub, &s->subscriber);
		}
		session_set_deadline(s, now_ms);
	}
}

void session_heard(struct session *s)
{
	s->heard_ms = clock_monotonic_ms();
}

/* ---- beginning and end */

struct session *session_new(struct node *n, struct lws *wsi)
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
	s->subscriber.reader.connection_id = uuid_of_random(random);
	s->connected_us = clock_wall_us();
	s->opened_ms = s->heard_ms = clock_monotonic_ms();
	TAILQ_INSERT_TAIL(&n->sessions, s, link);
	n->sessions_count++;
	n->sessions_opened++;
	session_set_deadline(s, s->opened_ms);
	return s;
}

void session_end(struct session *s)
{
	struct node *n = s->node;

	hub_leave(&s->subscriber);
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
	n->pending_bytes -= s->charged_bytes;
	s->wsi = NULL;
	session_unref(s);
}
