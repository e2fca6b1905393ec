#include "ws/subscribe/revocation.h"

#include "ws/identity/session_index.h"
#include "ws/session/session.h"
#include "ws/subscribe/parked_polls.h"

/* Does one of its subscriptions still get what comes before an announced end? */
static bool awaits_end(const struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (s->subscriptions.items[i]->subscriber.ends_seq != 0)
			return true;
	return false;
}

/* The session is closed when the last announced end has come; subscriptions without one end now. */
static void leave(struct session *s)
{
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		if (s->subscriptions.items[i]->subscriber.ends_seq == 0)
			hub_leave(&s->subscriptions.items[i]->subscriber);
	session_leave(s);
}

void revocation_reconnect(struct node *n, const char *user_id)
{
	struct session_walk walk;

	parked_polls_end_user(n->parked_polls, user_id, NULL);
	for (struct session *s = session_index_first(&walk, n, user_id); s; s = session_index_next(&walk)) {
		s->end.forgets_place = true;
		if (awaits_end(s))
			leave(s);
		else
			session_close(s, CLOSE_RESTART, "reconnect");
	}
}

void revocation_forget(struct node *n, const char *user_id)
{
	struct session_walk walk;

	parked_polls_end_user(n->parked_polls, user_id, NULL);
	for (struct session *s = session_index_first(&walk, n, user_id); s; s = session_index_next(&walk)) {
		s->end.forgets_place = true;
		session_close(s, CLOSE_NORMAL, "disconnected by administrator");
	}
}

void revocation_announce(struct node *n, struct hub_topic *t, const char *user_id, uint64_t seq)
{
	struct session_walk walk;

	t->revoked_seq = MAX(t->revoked_seq, seq);
	for (struct session *s = session_index_first(&walk, n, user_id); s; s = session_index_next(&walk)) {
		for (unsigned i = 0; i < s->subscriptions.count; i++) {
			struct subscription *sub = s->subscriptions.items[i];

			if (sub->subscriber.topic == t && sub->at.known_seq < seq && tail_seq(t->tail) < seq)
				sub->subscriber.ends_seq = seq;
		}
	}
}

/*
 * A live connection goes on without the topic; one that asked for it in its request is at its end, once what is before
 * the ends of its other topics has come too. Users who may have it still have to come again, whatever the connection.
 */
static void end_subscription(struct session *s, struct subscription *sub, bool come_again)
{
	sub->subscriber.ends_seq = 0;
	if (s->kind->revoked && !come_again) {
		s->kind->revoked(sub);
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
		s->end.refused_topic = subscription_topic(sub);
	session_refuse(s, 403, CLOSE_POLICY, "not allowed");
}

void revocation_come(struct node *n, struct hub_topic *t, const char *user_id, uint64_t seq)
{
	int64_t topic_id = t->id;
	struct session_walk walk;

	/* Its last holder may go with that. */
	parked_polls_end_user(n->parked_polls, user_id, t);
	for (struct session *s = session_index_first(&walk, n, user_id); s; s = session_index_next(&walk)) {
		for (unsigned i = 0; i < s->subscriptions.count; i++) {
			struct subscription *sub = s->subscriptions.items[i];

			if (subscription_topic_id(sub) != topic_id)
				continue;
			/* One that was let in after it may have the topic again. */
			if (sub->at.known_seq >= seq) {
				if (sub->subscriber.ends_seq <= seq)
					sub->subscriber.ends_seq = 0;
				continue;
			}
			/* A poll whose reply is on its way is over, but the next one would take over its place. */
			s->end.forgets_place = true;
			/* What came before it is still theirs. */
			if (s->state == SESSION_OPEN)
				hub_serve(n->fanout.hub, &sub->subscriber, clock_monotonic_ms());
			if (s->state == SESSION_OPEN)
				end_subscription(s, sub, !user_id && s->user);
			if (s->times.leave_by_ms != 0 && !awaits_end(s))
				session_close(s, CLOSE_RESTART, "reconnect");
			break;
		}
	}
}
