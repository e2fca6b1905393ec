#include "base/log/log.h"
#include "ws/session.h"

#define LOOK_MS 1000		  /* how often it is looked at whether a choked client takes bytes */
#define STREAM_HEARTBEAT_MS 15000 /* spec section 5 */
#define PAGE_WAIT_MS 5000	  /* that a poll waits, beyond its time, for a page of what it missed */
#define EXPIRY_WARNING_S 60
#define CLOSING_MS 5000 /* for the close frame, and for the client's answer to it */

static int64_t wall_to_monotonic_ms(int64_t wall_s, int64_t now_ms)
{
	return now_ms + wall_s * 1000 - clock_wall_us() / 1000;
}

/* A live client is told a minute ahead (spec section 6), once it has been told that it is authenticated. */
static int64_t expiry_deadline_s(const struct session *s)
{
	return s->expires_s - (s->authenticated && !s->told_expiring ? EXPIRY_WARNING_S : 0);
}

/*
 * When a poll is answered with what there is. One that is not let in yet, or waits for a page of what it missed, has a
 * little longer.
 */
static int64_t answer_deadline_ms(const struct session *s, int64_t now_ms)
{
	return s->timeout_ms + (s->waiting || now_ms < s->timeout_ms ? 0 : PAGE_WAIT_MS);
}

static int64_t next_heartbeat_ms(const struct session *s)
{
	int64_t every_ms = s->node->config->heartbeat_s * 1000;

	/* Nobody answers a comment in an event stream: it is there for what is between. */
	if (!s->voice->answers_heartbeats)
		every_ms = MIN(every_ms, STREAM_HEARTBEAT_MS);
	/* Nothing is said before `connect`, and one that takes nothing is watched by another deadline. */
	if (!s->greeted || s->choked_ms != 0)
		return INT64_MAX;
	/* The first comes up to a quarter early, by chance: those who came back together are not pinged together for
	 * ever. */
	if (s->pinged_ms == 0)
		return s->opened_ms + every_ms - every_ms * s->id.bytes[0] / 1024;
	/* A live client is told in any case. */
	if (s->endpoint)
		return s->pinged_ms + every_ms;
	return MAX(s->pinged_ms, s->heard_ms) + every_ms;
}

/*
 * A peer that is silent for two heartbeats is not there any more; one that takes what had waited is: the ping lies behind
 * that.
 */
static int64_t silent_from_ms(const struct session *s)
{
	return s->voice->answers_heartbeats ? MAX(s->heard_ms, s->taken_ms) + 2 * s->node->config->heartbeat_s * 1000
					    : INT64_MAX;
}

/* When one that is choked has had its time to take TAKING_BYTES. */
static int64_t slow_from_ms(const struct session *s)
{
	return s->choked_ms + s->node->config->slow_s * 1000;
}

void session_set_deadline(struct session *s, int64_t now_ms)
{
	const struct config *c = s->node->config;
	int64_t due_ms;

	if (s->broken) {
		due_ms = now_ms;
	} else if (s->state == SESSION_CLOSING) {
		/* One that reads slowly may yet come to its close frame. */
		due_ms = s->choked_ms ? MAX(s->choked_ms + CLOSING_MS, slow_from_ms(s)) : now_ms + CLOSING_MS;
	} else {
		due_ms = next_heartbeat_ms(s);
		if (s->pinged_ms > s->heard_ms)
			due_ms = MIN(due_ms, silent_from_ms(s));
		if (s->voice->answers_heartbeats)
			due_ms = MIN(due_ms, s->heard_ms + c->idle_s * 1000);
		if (s->timeout_ms)
			due_ms = MIN(due_ms, answer_deadline_ms(s, now_ms));
		if (s->state == SESSION_NEW)
			due_ms = MIN(due_ms, s->opened_ms + c->authenticate_s * 1000);
		if (s->leave_by_ms)
			due_ms = MIN(due_ms, s->leave_by_ms);
		if (s->choked_ms)
			due_ms = MIN(due_ms, MIN(slow_from_ms(s), now_ms + LOOK_MS));
		if (s->asking)
			due_ms = MIN(due_ms, s->asked_ms + c->slow_s * 1000);
		if (s->unfinished_ms)
			due_ms = MIN(due_ms, s->unfinished_ms + c->slow_s * 1000);
		if (s->expires_s)
			due_ms = MIN(due_ms, wall_to_monotonic_ms(expiry_deadline_s(s), now_ms));
	}
	wheel_set(&s->node->wheel, &s->wheel, due_ms);
}

static void beat(struct session *s, int64_t now_ms)
{
	struct buf bytes = BUF_EMPTY;

	s->pinged_ms = now_ms;
	s->voice->heartbeat(&bytes);
	if (bytes.len > 0)
		session_write(s, &bytes);
	buf_free(&bytes);
}

static void warn_of_expiry(struct session *s)
{
	struct buf text = BUF_EMPTY;

	if (!s->authenticated || s->told_expiring)
		return;
	s->told_expiring = true;
	s->voice->expiring(&text, s->expires_s - clock_wall_us() / 1000000);
	if (text.len > 0)
		session_write(s, &text);
	buf_free(&text);
}

void session_due(struct session *s, int64_t now_ms)
{
	const struct config *c = s->node->config;
	bool silent;

	if (s->choked_ms)
		session_look(s, now_ms);
	if (!s->broken && s->state == SESSION_CLOSING && s->choked_ms == now_ms) {
		session_set_deadline(s, now_ms);
		return;
	}
	silent = s->pinged_ms > s->heard_ms && now_ms >= silent_from_ms(s);
	if (s->broken || s->state == SESSION_CLOSING || silent) {
		s->transport->shut(s->socket);
		wheel_set(&s->node->wheel, &s->wheel, now_ms + CLOSING_MS);
		return;
	}
	if (s->state == SESSION_NEW && now_ms >= s->opened_ms + c->authenticate_s * 1000) {
		session_close(s, CLOSE_POLICY, "authenticate not sent in time");
	} else if (s->leave_by_ms && now_ms >= s->leave_by_ms) {
		log_info("closing a client whose rights have ended: what came before that was not there in time");
		session_close(s, CLOSE_RESTART, "reconnect");
	} else if (s->expires_s && clock_wall_us() / 1000000 >= s->expires_s) {
		session_close(s, CLOSE_POLICY, "token expired");
	} else if (s->timeout_ms && now_ms >= answer_deadline_ms(s, now_ms)) {
		session_close(s, CLOSE_NORMAL, s->greeted ? "" : "try again later");
	} else if (s->asking && now_ms >= s->asked_ms + c->slow_s * 1000) {
		log_info("closing a client that has waited too long for what it missed");
		session_close(s, CLOSE_TRY_LATER, "what was missed is not there in time: try again later");
	} else if (s->choked_ms && now_ms >= slow_from_ms(s)) {
		log_info("closing a client that reads too slowly topic=%s",
			 s->subscriptions_count > 0 ? subscription_topic(s->subscriptions[0]) : "");
		session_close(s, CLOSE_TRY_LATER, "reading too slowly");
	} else if (s->unfinished_ms && now_ms >= s->unfinished_ms + c->slow_s * 1000) {
		log_info("closing a client whose message does not come to its end");
		session_close(s, CLOSE_TRY_LATER, "sending too slowly");
	} else if (s->voice->answers_heartbeats && now_ms >= s->heard_ms + c->idle_s * 1000) {
		session_close(s, CLOSE_IDLE, "idle");
	} else {
		if (now_ms >= next_heartbeat_ms(s))
			beat(s, now_ms);
		if (s->expires_s && clock_wall_us() / 1000000 >= expiry_deadline_s(s))
			warn_of_expiry(s);
		session_set_deadline(s, now_ms);
	}
}
