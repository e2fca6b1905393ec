/*
 * subscription - one topic of one session: whether it may have it, where it is in it, what it still has to get.
 *
 *	ATTACHING	authorizer asks whether it may, and where the topic is
 *	COUNTING	presence writes down that it is here, so that publishers count it: where the authorizer's call has not done so
 *	COUNTED		it waits until the session's others are counted too: then `connect` goes out
 *	CATCHING	it gets what it missed
 *	CAUGHT_UP	a poll's: it has that, and waits until the session's others have it too
 *	LIVE		the hub writes to it
 *
 * It is in its session's list until that lets it go; a poll's goes on without a session for a while (parked_polls.h). Somebody
 * who waits for an answer about it (authorizer, presence, backfill) holds a reference.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "domain/fanout/hub.h"
#include "domain/topic/resume_point.h"
#include "domain/topic/selection.h"
#include "store/sidecar/sql_attach.h"

struct node;
struct session;
struct watcher;

enum subscription_state {
	SUBSCRIPTION_ATTACHING,
	SUBSCRIPTION_COUNTING,
	SUBSCRIPTION_COUNTED,
	SUBSCRIPTION_CATCHING,
	SUBSCRIPTION_CAUGHT_UP,
	SUBSCRIPTION_LIVE
};

/* A message of a live client that is answered when this is done. */
struct asker {
	STAILQ_ENTRY(asker) next;
	char *name;	   /* owned; as the message calls the subscription; NULL: it is about the connection itself */
	char *correlation; /* owned; JSON text; NULL: none */
};

STAILQ_HEAD(asker_list, asker);

/* Where it is in its topic, and how it came there. */
struct subscription_place {
	uint64_t known_seq;  /* the database had so many when it was attached: the tail may not have come to that yet */
	uint64_t missed_seq; /* from CATCHING on: what was there then. What comes later was not missed */
	uint64_t missed_from, missed_to; /* what it will never get; 0: nothing */
	uint64_t asked_seq;	/* what was sent before the ping that is under way; 0: nothing, or there is none */
	uint64_t confirmed_seq; /* its client has confirmed all up to here, as far as is known here */
	uint64_t rewound_from;	/* seq that it went back to, as it or its topic's policy wants; 0: it did not */
	enum resumed_by resumed_by;
	enum cursor_origin cursor_origin;
	bool recovered;
	bool welcomed; /* it has what it missed: from now on messages come one by one */
};

/* Messages for its user alone that wait in the queue before its seq. */
struct subscription_unsent {
	uint64_t after, up_to; /* where those are, while `waits` */
	bool waits;
};

/* As tidings.connection has it. */
struct subscription_record {
	TAILQ_ENTRY(subscription) link; /* in presence's list while `written_down` */
	int64_t topic_id;		/* 0: it stands for its connection alone */
	const char *transport;		/* static */
	int64_t connected_us;		/* wall */
	bool written_down;		/* presence knows it */
	bool audited;			/* that it is subscribed is in the trail */
};

struct subscription {
	struct subscriber subscriber;	  /* its topic is held from ATTACHING's end on */
	struct session *session;	  /* borrowed; NULL: it has none (any more) */
	STAILQ_ENTRY(subscription) queue; /* in authorizer's or backfill's */
	char *name;			  /* owned; as its client calls it, by a message; NULL: its request named it */
	struct asker_list askers;	  /* owned; in the order in which they came */
	struct selected *wanted;	  /* owned; what the request said, until it is attached; then NULL */
	struct message_types *types;	  /* owned, a reference: the reader's; NULL: all */
	struct watcher *watcher;	  /* owned by roster_watch; NULL: it does not watch who is on its topic */
	int64_t allowed_ms;		  /* monotonic: when the database last said that it may have its topic */
	uint64_t asked_again_seq;	  /* while ATTACHING: the revocation for which it is asked anew; 0: none */
	unsigned refs;
	enum subscription_state state;
	bool asking;   /* for a page of what it missed: in backfill's queue, or under way */
	bool presence; /* it wants to know who is on its topic, and may */
	struct subscription_place at;
	struct subscription_unsent unsent;
	struct subscription_record record;
};

static inline struct subscription *subscription_of(struct subscriber *s)
{
	return (struct subscription *)((char *)s - offsetof(struct subscription, subscriber));
}

/* What has happened to a subscription. */
enum subscription_event {
	STEP_ALLOWED,	/* it may have its topic: `row` says where that is */
	STEP_ADMITTED,	/* one that stands for a connection: the database has let that in */
	STEP_WRITTEN,	/* presence has written it down */
	STEP_RETURNED,	/* it was parked, and has a session again, which asks for it anew */
	STEP_RESUMED,	/* it goes on where it was */
	STEP_WELCOMED,	/* its client has been told that it is subscribed */
	STEP_CAUGHT_UP, /* it has all that it missed */
	STEP_JOINED,	/* it is to get what comes */
	STEP_BEHIND,	/* the hub's tail has moved on without it */
};

/*
 * Moves it on: the one function that changes `state`. It is subscribe.c's (whose header tells the way); who is called by it
 * reports back to it, so it is declared down here.
 *
 *	row	of STEP_ALLOWED; else NULL
 */
void subscription_step(struct subscription *sub, enum subscription_event event, const struct attach_row *row);

/* Its client has confirmed all up to `seq`. It is subscribe.c's, declared down here as subscription_step() is. */
void subscription_confirm(struct subscription *sub, uint64_t seq);

/* Subscriptions that wait for something, each with a reference. */
STAILQ_HEAD(subscription_queue, subscription);

/* It wants these types of messages from now on: a reference is taken. NULL: all. */
void subscription_want(struct subscription *sub, struct message_types *types);

/* A list that grows. */
struct subscription_array {
	struct subscription **items; /* each with a reference */
	size_t count, size;
};

/* False: no memory. */
bool subscription_array_add(struct subscription_array *a, struct subscription *sub);
void subscription_array_release(struct subscription_array *a);

/*
 * NULL: no memory. It has no session yet.
 *
 *	wanted		copied; NULL: it stands for the connection itself, which is on no topic yet
 *	transport	static
 */
struct subscription *subscription_new(const struct selected *wanted, const struct uuid *connection_id,
				      const char *transport);

struct subscription *subscription_ref(struct subscription *sub);
void subscription_unref(struct subscription *sub);

/* One more message that waits for it. False: no memory. */
bool subscription_ask(struct subscription *sub, const char *name, const char *correlation);

/* They have been answered. */
void subscription_answered(struct subscription *sub);

/* Nobody waits any more. */
void subscription_queue_clear(struct subscription_queue *q);

/* Its topic; 0: none (yet): it stands for its connection alone. */
int64_t subscription_topic_id(const struct subscription *sub);

/* The name of its topic, attached or not. Lent. */
const char *subscription_topic(const struct subscription *sub);

struct resume_point subscription_place(const struct subscription *sub);

/* The database has told where its topic is: finds the place that it goes on from. Its topic is held. */
void subscription_find_place(struct subscription *sub, const struct attach_row *row);

/*
 * Its topic is held still, the cursor that it wants to go on from lies in the tail, and so does all that anybody has been sent:
 * subscription_resume() goes on from there without asking the database. (Not for ever: whether it may is asked anew now and then.)
 */
bool subscription_can_resume(const struct subscription *sub, int64_t now_ms);
void subscription_resume(struct subscription *sub);

/* It lets its topic go. Whoever has it unrefs it. The presence must not know it any more. */
void subscription_end(struct subscription *sub, struct node *n);
