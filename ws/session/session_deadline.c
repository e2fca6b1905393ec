#include "ws/metrics/node_metrics.h"
#include "ws/session/session_output.h"

#define LOOK_MS 1000		  /* how often it is looked at whether a choked client takes bytes */
#define STREAM_HEARTBEAT_MS 15000 /* spec section 5 */
#define CLOSING_MS 5000		  /* for the close frame, and for the client's answer to it */

int64_t session_at_wall_s(int64_t wall_s, int64_t now_ms)
{
	return now_ms + wall_s * 1000 - clock_wall_us() / 1000;
}

static int64_t next_heartbeat_ms(const struct session *s)
{
	int64_t every_ms = s->node->config->heartbeat_s * 1000;

	/* Nobody answers a comment in an event stream: it is there for what is between. */
	if (!s->kind->is.duplex)
		every_ms = MIN(every_ms, STREAM_HEARTBEAT_MS);
	/* Nothing is said before `connect`, and one that takes nothing is watched by another deadline. */
	if (!s->greeted || s->outlet.choked_ms != 0)
		return INT64_MAX;
	/* The first comes up to a quarter early, by chance: those who came back together are not pinged together for
	 * ever. */
	if (s->times.pinged_ms == 0)
		return s->times.opened_ms + every_ms - every_ms * s->id.bytes[0] / 1024;
	if (s->kind->encoder->heartbeat_is_a_message)
		return s->times.pinged_ms + every_ms;
	return MAX(s->times.pinged_ms, s->times.heard_ms) + every_ms;
}

/*
 * A peer that is silent for two heartbeats is not there any more; one that takes what had waited is: the ping lies behind
 * that.
 */
static int64_t silent_from_ms(const struct session *s)
{
	return s->kind->is.duplex ? MAX(s->times.heard_ms, s->times.taken_ms) + 2 * s->node->config->heartbeat_s * 1000
				  : INT64_MAX;
}

/* When one that is choked has had its time to take TAKING_BYTES. */
static int64_t slow_from_ms(const struct session *s)
{
	return s->outlet.choked_ms + s->node->config->slow_s * 1000;
}

void session_set_deadline(struct session *s, int64_t now_ms)
{
	const struct config *c = s->node->config;
	int64_t due_ms;

	if (s->outlet.broken) {
		due_ms = now_ms;
	} else if (s->state == SESSION_CLOSING) {
		/* One that reads slowly may yet come to its close frame. */
		due_ms = s->outlet.choked_ms ? MAX(s->outlet.choked_ms + CLOSING_MS, slow_from_ms(s))
					     : now_ms + CLOSING_MS;
	} else {
		due_ms = MIN(next_heartbeat_ms(s), session_ping_due_ms(s));
		if (s->times.pinged_ms > s->times.heard_ms)
			due_ms = MIN(due_ms, silent_from_ms(s));
		if (s->kind->is.duplex)
			due_ms = MIN(due_ms, s->times.heard_ms + c->idle_s * 1000);
		if (s->kind->due_ms)
			due_ms = MIN(due_ms, s->kind->due_ms(s, now_ms));
		if (s->state < SESSION_OPEN)
			due_ms = MIN(due_ms, s->times.opened_ms + c->authenticate_s * 1000);
		if (s->times.leave_by_ms)
			due_ms = MIN(due_ms, s->times.leave_by_ms);
		if (s->outlet.choked_ms)
			due_ms = MIN(due_ms, MIN(slow_from_ms(s), now_ms + LOOK_MS));
		if (s->subscriptions.asking)
			due_ms = MIN(due_ms, s->times.asked_ms + c->slow_s * 1000);
		if (s->in.begun_ms)
			due_ms = MIN(due_ms, s->in.begun_ms + c->slow_s * 1000);
		if (s->times.expires_s)
			due_ms = MIN(due_ms, session_at_wall_s(s->times.expires_s, now_ms));
	}
	wheel_set(&s->node->sessions.wheel, &s->times.wheel, due_ms);
}

static void ping(struct session *s, int64_t now_ms)
{
	struct buf bytes = BUF_EMPTY;

	session_take_place(s, now_ms);
	session_add_ping(&bytes, s);
	session_write(s, &bytes);
	buf_free(&bytes);
}

static void beat(struct session *s, int64_t now_ms)
{
	struct buf bytes = BUF_EMPTY;

	s->times.pinged_ms = now_ms;
	if (s->kind->is.duplex)
		session_take_place(s, now_ms);
	s->kind->encoder->heartbeat(&bytes, s);
	if (bytes.len > 0)
		session_write(s, &bytes);
	buf_free(&bytes);
}

void session_due(struct session *s, int64_t now_ms)
{
	const struct config *c = s->node->config;
	bool silent;

	if (s->outlet.choked_ms)
		session_look(s, now_ms);
	if (!s->outlet.broken && s->state == SESSION_CLOSING && s->outlet.choked_ms == now_ms) {
		session_set_deadline(s, now_ms);
		return;
	}
	silent = s->times.pinged_ms > s->times.heard_ms && now_ms >= silent_from_ms(s);
	if (s->outlet.broken || s->state == SESSION_CLOSING || silent) {
		s->outlet.transport->shut(s->outlet.socket);
		wheel_set(&s->node->sessions.wheel, &s->times.wheel, now_ms + CLOSING_MS);
		return;
	}
	if (s->state < SESSION_OPEN && now_ms >= s->times.opened_ms + c->authenticate_s * 1000) {
		node_count_refused(s->node, REFUSED_TOKEN);
		session_close(s, CLOSE_POLICY, "authenticate not sent in time");
	} else if (s->times.leave_by_ms && now_ms >= s->times.leave_by_ms) {
		session_log(s, LOG_INFO_,
			    "closing a client whose rights have ended: what came before that was not there in time");
		session_close(s, CLOSE_RESTART, "reconnect");
	} else if (s->times.expires_s && clock_wall_us() / 1000000 >= s->times.expires_s) {
		session_close(s, CLOSE_POLICY, "token expired");
	} else if (s->kind->due_ms && now_ms >= s->kind->due_ms(s, now_ms)) {
		s->kind->due(s, now_ms);
	} else if (s->subscriptions.asking && now_ms >= s->times.asked_ms + c->slow_s * 1000) {
		session_log(s, LOG_INFO_, "closing a client that has waited too long for what it missed");
		session_close(s, CLOSE_TRY_LATER, "what was missed is not there in time: try again later");
	} else if (s->outlet.choked_ms && now_ms >= slow_from_ms(s)) {
		session_log(s, LOG_INFO_, "closing a client that reads too slowly topic=%s",
			    s->subscriptions.count > 0 ? subscription_topic(s->subscriptions.items[0]) : "");
		session_close_slow(s);
	} else if (s->in.begun_ms && now_ms >= s->in.begun_ms + c->slow_s * 1000) {
		session_log(s, LOG_INFO_, "closing a client whose message does not come to its end");
		session_close(s, CLOSE_TRY_LATER, "sending too slowly");
	} else if (s->kind->is.duplex && now_ms >= s->times.heard_ms + c->idle_s * 1000) {
		session_close(s, CLOSE_IDLE, "idle");
	} else {
		if (now_ms >= next_heartbeat_ms(s))
			beat(s, now_ms);
		else if (now_ms >= session_ping_due_ms(s))
			ping(s, now_ms);
		session_set_deadline(s, now_ms);
	}
}
