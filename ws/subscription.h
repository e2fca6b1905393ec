/*
 * subscription - one topic of one session: whether it may have it, where it is in it, what it still has to get.
 *
 *	ATTACHING	gate asks whether it may, and where the topic is
 *	COUNTING	ledger writes down that it is here: so whoever publishes from now on counts it
 *	COUNTED		it waits until the session's others are counted too: then `connect` goes out
 *	CATCHING	it gets what it missed
 *	CAUGHT_UP	a poll's: it has that, and waits until the session's others have it too
 *	LIVE		the hub writes to it
 *
 * It is in its session's list until that lets it go; a poll's goes on without a session for a while (grace.h). Somebody
 * who waits for an answer about it (gate, ledger, catch_up) holds a reference.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "domain/fanout/hub.h"
#include "domain/topic/resume_point.h"
#include "domain/topic/selection.h"
#include "store/sidecar/sql_attach.h"

struct node;
struct session;

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

struct subscription {
	struct subscriber subscriber;	   /* its topic is held from ATTACHING's end on */
	struct session *session;	   /* borrowed; NULL: it has none (any more) */
	STAILQ_ENTRY(subscription) queue;  /* in gate's or catch_up's */
	TAILQ_ENTRY(subscription) written; /* in ledger's list while `written_down` */
	char *name;			   /* owned; as the client of a live endpoint calls it; NULL for others */
	struct asker_list askers;	   /* owned; in the order in which they came */
	struct selected *wanted;	   /* owned; what the request said, until it is attached; then NULL */
	const char *transport;		   /* static: as tidings.connection has it */
	int64_t connected_us;		   /* wall */
	int64_t allowed_ms;		   /* monotonic: when the database last said that it may have its topic */
	uint64_t known_seq;  /* the database had so many when it was attached: the tail may not have come to that yet */
	uint64_t missed_seq; /* from CATCHING on: what was there then. What comes later was not missed */
	uint64_t unsent_after, unsent_up_to; /* where those are, while `unsent` */
	uint64_t missed_from, missed_to;
	uint64_t asked_again_seq; /* while ATTACHING: the revocation for which it is asked anew; 0: none */
	unsigned refs;
	enum subscription_state state;
	bool written_down; /* the ledger knows it */
	bool audited;	   /* that it is subscribed is in the trail */
	bool resumes;	   /* it came with a cursor */
	bool recovered;
	bool unsent;   /* messages for this user alone wait in the queue before its seq */
	bool asking;   /* for a page of what it missed: in catch_up's queue, or under way */
	bool welcomed; /* it has what it missed: from now on messages come one by one */
};

/* Subscriptions that wait for something, each with a reference. */
STAILQ_HEAD(subscription_queue, subscription);

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
void subscription_find_place(struct subscription *sub, const struct attach_row *row, uint64_t queue_max);

/* It is CATCHING: what is there now is what it missed. */
void subscription_catch_up(struct subscription *sub);

/*
 * Its topic is held still, and the cursor that it wants to go on from lies in the tail: subscription_resume() goes on
 * from there without asking the database. (Not for ever: whether it may is asked anew now and then.)
 */
bool subscription_can_resume(const struct subscription *sub, int64_t now_ms);
void subscription_resume(struct subscription *sub);

/* It lets its topic go. Whoever has it unrefs it. The ledger must not know it any more. */
void subscription_end(struct subscription *sub, struct node *n);
