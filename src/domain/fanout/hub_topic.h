/*
 * hub_topic - a topic that somebody holds on this node: its tail, and its subscribers in lists by what they lack.
 *
 * The hub alone moves a subscriber from one list to another (hub.h); its state says which one it is on.
 *
 * Layer    domain.
 * Threads  none: the event loop's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/hash.h"
#include "domain/fanout/ephemeral.h"
#include "domain/fanout/tail.h"
#include "domain/topic/cursor.h"
#include "domain/topic/topic.h"

enum subscriber_state {
	SUB_OUT,     /* in no list: not joined, or its owner has it */
	SUB_READY,   /* in its topic's current or due list: current when it has everything, due when not */
	SUB_WAITING, /* in its topic's waiting list: its transport takes nothing now */
	SUB_AHEAD,   /* in its topic's ahead list: it has more than the tail, which is about to be fetched */
};

struct subscriber {
	TAILQ_ENTRY(subscriber) link;
	struct hub_topic *topic; /* borrowed; held by hub_hold() */
	uint64_t seq;		 /* it has everything up to here */
	uint64_t ephemeral;	 /* the number of the last ephemeral message that it was given, or that went by */
	/* seq of the announced message that revokes its reader's right. Stored messages before it are still the reader's;
	 * ephemeral ones are not. 0: none announced. */
	uint64_t ends_seq;
	/* Messages that it passed over, and that no client may have confirmed yet: the first and the last. 0: there are none. */
	uint64_t withheld_from, withheld_to;
	enum subscriber_state state;
	struct reader reader;
};

TAILQ_HEAD(subscriber_list, subscriber);

/* Of a topic in one of the hub's lists. */
struct hub_topic_link {
	TAILQ_ENTRY(hub_topic) link;
	bool on; /* it is in that list */
};

/* How far some client has confirmed what it was sent, here or as the database said. */
struct hub_confirmed {
	uint64_t seq;
	int64_t ask_ms; /* the owner's: when a reader without a name may be asked next to confirm */
};

/* Since somebody is due. */
struct hub_fan_out {
	unsigned subscribers; /* that were written to */
	int64_t since_us;     /* when the first was, where more than one was due */
};

struct hub_topic {
	UT_hash_handle hh;	    /* by id */
	struct hub_topic_link busy; /* in hub.busy: while due is not empty */
	struct hub_topic_link age;  /* in hub.by_age, the longest without a message first: its tail can be freed */
	struct hub_topic_link rung; /* in hub.rung: the database has, or may have, more than the tail */
	int64_t id;
	uint64_t serial; /* no other that this hub has made, or makes, has it: an id may be held anew */
	char name[TOPIC_NAME_MAX + 1];
	char epoch[EPOCH_MAX + 1];
	struct tail *tail;		/* owned */
	struct subscriber_list current; /* has everything: seq == tail_seq(), and every ephemeral message */
	struct subscriber_list due;	/* lacks something, and is writable */
	struct subscriber_list waiting;
	struct subscriber_list ahead; /* seq > tail_seq(); nearly always empty */
	struct ephemerals ephemerals; /* owned; empty while nobody is due */
	uint64_t delivered_seq;	      /* how far some client has been sent, here or as the database said */
	struct hub_confirmed confirmed;
	uint64_t revoked_seq; /* of the last revocation that went by or is announced; 0: none */
	unsigned holders;     /* who uses it: the last one out frees it */
	bool stale;	      /* hub_retire() */
	struct hub_fan_out fan_out;
};

/*
 * A topic with an empty tail after last_seq, without subscribers.
 *
 *	name, epoch	copied
 *	deflater	borrowed; NULL: nothing is compressed
 */
enum err hub_topic_new(struct hub_topic **t, int64_t id, const char *name, const char *epoch, uint64_t last_seq,
		       size_t tail_max_bytes, struct deflater *deflater) MUST_CHECK;
void hub_topic_free(struct hub_topic **t);

/*
 * Those who are due are written to, and then nobody is due any more: how long that took, from the first to the last. One
 * alone takes no time that is worth a look at the clock.
 *
 *	clock_us	NULL: nobody measures
 *
 * hub_topic_end_fan_out() returns how many were written to.
 */
void hub_topic_begin_fan_out(struct hub_topic *t, int64_t (*clock_us)(void *context), void *context);
unsigned hub_topic_end_fan_out(struct hub_topic *t, int64_t (*clock_us)(void *context), void *context,
			       int64_t *took_us);

/* Whether nothing lies between what the subscriber has and the newest message, ephemeral ones included. */
bool subscriber_has_everything(const struct subscriber *s);

/*
 * It passes over these messages of its topic, which others may want. What no client has confirmed waits for one that takes it: so the
 * topic is delivered, and confirmed, up to there, and no further, by this one.
 *
 *	from	0: there are none
 */
void subscriber_withhold(struct subscriber *s, uint64_t from, uint64_t to);

/*
 * Its reader has confirmed all that it was sent up to `seq`. True: the topic's confirmed.seq has grown. That never passes what some
 * client has been sent: a cursor may lie further.
 */
bool subscriber_confirm(struct subscriber *s, uint64_t seq);

/* Up to which seq its topic is delivered where it has been sent all that it wants up to `seq`. */
uint64_t subscriber_delivers(const struct subscriber *s, uint64_t seq);

/* The list that a subscriber with this state is on. A ready one is current or due by what it has: so a message moves all of
 * them at once. */
struct subscriber_list *subscriber_list_of(struct subscriber *s);
