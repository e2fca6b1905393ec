#include "ws/control.h"

#include <stdlib.h>
#include <string.h>

#include "base/log/log.h"
#include "store/sidecar/sql_node.h"
#include "ws/grace.h"
#include "ws/live.h"
#include "ws/session.h"
#include "ws/sessions.h"

static void disconnect(struct node *n, const struct uuid *id)
{
	struct session *s = sessions_find(n, id);

	grace_end_connection(n->grace, id);
	if (!s)
		return;
	s->leaves_no_place = true;
	session_close(s, CLOSE_NORMAL, "disconnected by administrator");
}

/* Is what came before its end still on its way to one of its subscriptions? */
static bool awaits_end(const struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		if (s->subscriptions[i]->subscriber.ends_seq != 0)
			return true;
	return false;
}

/* It goes when the last of the ends that are announced has come; what has none has its end now. */
static void leave(struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions_count; i++)
		if (s->subscriptions[i]->subscriber.ends_seq == 0)
			hub_leave(&s->subscriptions[i]->subscriber);
	session_leave(s);
}

void control_reconnect_user(struct node *n, const char *user_id)
{
	struct session_walk walk;

	grace_end_user(n->grace, user_id, NULL);
	for (struct session *s = sessions_first(&walk, n, user_id); s; s = sessions_next(&walk)) {
		s->leaves_no_place = true;
		if (awaits_end(s))
			leave(s);
		else
			session_close(s, CLOSE_RESTART, "reconnect");
	}
}

/* The message that says so may have been read, or is on its way: until then nothing ends but what follows it. */
static void announce_end(struct node *n, const char *numbers, bool everybody)
{
	char *end;
	int64_t topic_id = strtoll(numbers, &end, 10);
	uint64_t seq = strtoull(end, &end, 10);
	const char *user_id = everybody ? NULL : end + 1;
	struct hub_topic *t = hub_find(n->hub, topic_id);
	struct session_walk walk;

	if (*end != (everybody ? '\0' : ' ') || seq == 0 || !t)
		return;
	t->revoked_seq = MAX(t->revoked_seq, seq);
	for (struct session *s = sessions_first(&walk, n, user_id); s; s = sessions_next(&walk)) {
		for (unsigned i = 0; i < s->subscriptions_count; i++) {
			struct subscription *sub = s->subscriptions[i];

			if (sub->subscriber.topic == t && sub->known_seq < seq && tail_seq(t->tail) < seq)
				sub->subscriber.ends_seq = seq;
		}
	}
}

static void report(struct node *n, const struct uuid *id)
{
	static const char *const states[] = {
		[SESSION_NEW] = "connected", [SESSION_OPEN] = "authenticated", [SESSION_CLOSING] = "disconnected"};
	struct session *s = sessions_find(n, id);
	char id_text[UUID_TEXT_SIZE], heard[CLOCK_TEXT_SIZE];

	if (!s)
		return;
	clock_text(heard, clock_wall_us() - (clock_monotonic_ms() - s->heard_ms) * 1000);
	if (sql_report(n->pipeline, n->id_text, uuid_text(id_text, id), heard, states[s->state]) != OK)
		log_info("a connection could not be reported: the database is away");
}

void control_order(struct node *n, const char *order)
{
	const char *what = strchr(order, ' ');
	struct uuid id;
	bool is_id;

	if (!what)
		return;
	what++;
	is_id = uuid_parse(&id, what, strlen(what));
	if (strncmp(order, "disconnect ", strlen("disconnect ")) == 0 && is_id)
		disconnect(n, &id);
	else if (strncmp(order, "reconnect ", strlen("reconnect ")) == 0)
		control_reconnect_user(n, what);
	else if (strncmp(order, "revoke ", strlen("revoke ")) == 0)
		announce_end(n, what, false);
	else if (strncmp(order, "revoke_all ", strlen("revoke_all ")) == 0)
		announce_end(n, what, true);
	else if (strncmp(order, "report ", strlen("report ")) == 0 && is_id)
		report(n, &id);
}

/*
 * A live connection goes on without the topic; one that asked for it in its request is at its end, once what is before
 * the ends of its other topics has come too. Users who may have it still have to come again, whatever the connection.
 */
static void end_subscription(struct session *s, struct subscription *sub, bool come_again)
{
	sub->subscriber.ends_seq = 0;
	if (s->endpoint && !come_again) {
		live_revoke(sub);
		return;
	}
	if (awaits_end(s)) {
		leave(s);
		return;
	}
	if (come_again) {
		session_close(s, CLOSE_RESTART, "reconnect");
		return;
	}
	if (s->dialog.diagnosis_id == 0)
		s->refused_topic = subscription_topic(sub);
	session_refuse(s, 403, CLOSE_POLICY, "not allowed");
}

void control_revoke(struct node *n, struct hub_topic *t, const char *user_id, uint64_t seq)
{
	int64_t topic_id = t->id;
	struct session_walk walk;

	t->revoked_seq = MAX(t->revoked_seq, seq);
	/* Its last holder may go with that. */
	grace_end_user(n->grace, user_id, t);
	for (struct session *s = sessions_first(&walk, n, user_id); s; s = sessions_next(&walk)) {
		for (unsigned i = 0; i < s->subscriptions_count; i++) {
			struct subscription *sub = s->subscriptions[i];

			if (subscription_topic_id(sub) != topic_id)
				continue;
			/* One that was let in after it may have the topic again. */
			if (sub->known_seq >= seq) {
				if (sub->subscriber.ends_seq <= seq)
					sub->subscriber.ends_seq = 0;
				continue;
			}
			/* A poll whose reply is on its way is over, but the next one would take over its place. */
			s->leaves_no_place = true;
			/* What came before it is still theirs. */
			if (s->state == SESSION_OPEN)
				hub_serve(n->hub, &sub->subscriber, clock_monotonic_ms());
			if (s->state == SESSION_OPEN)
				end_subscription(s, sub, !user_id && s->user);
			if (s->leave_by_ms != 0 && !awaits_end(s))
				session_close(s, CLOSE_RESTART, "reconnect");
			break;
		}
	}
}
