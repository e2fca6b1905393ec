/*
 * presence - writes down in the database who is connected to what on this node (connection, presence), and what was delivered.
 *
 * Changes gather, and go in one call (tidings.flush()): a new subscription's at once, since its client is told that it is connected
 * only when publishers count it; the rest at most every 100 ms. An idle node writes nothing.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"
#include "ws/session/session.h"

enum err presence_new(struct presence **p, struct node *n) MUST_CHECK;
void presence_free(struct presence **p);

/* To be written down: STEP_WRITTEN. */
void presence_opened(struct presence *p, struct subscription *sub);
void presence_closed(struct presence *p, struct subscription *sub); /* does nothing where it is not written down */

/*
 * An attach has written the subscription down (attach_row.counted). It is known here from now on, as if opened and written, unless a
 * call behind the attach has undone its count: then it is still to be opened.
 *
 *	calls	presence_calls() when the attach was sent
 */
void presence_take_over(struct presence *p, struct subscription *sub, int64_t topic_id, uint64_t calls);
uint64_t presence_calls(const struct presence *p);

/* An attach has written it down, taken over or not, and it does not go on. */
void presence_uncount(struct presence *p, struct subscription *sub, int64_t topic_id);

/* A subscription whose row another call has written (live_admission) is gone: the row is deleted. */
void presence_erase(struct presence *p, const struct subscription *sub);

/* As struct hub_ops has them. */
void presence_delivered(struct presence *p, const struct hub_topic *t);
void presence_sent(struct presence *p, const struct hub_topic *t, uint64_t seq);

/* The database is away: sessions that wait to be counted are closed with 1013; the rest is written anew by presence_renew(). */
void presence_lost(struct presence *p);

/*
 * What the database has of this node may be wrong: nothing more is written until presence_renew(), for which the next
 * heartbeat sees.
 */
void presence_doubt(struct presence *p);
bool presence_is_doubted(const struct presence *p);

/* The device that a subscription is of has confirmed all up to `seq`. */
void presence_confirmed(struct presence *p, const struct subscription *sub, uint64_t seq);

/* The database knows nothing of this node: everything again. */
void presence_renew(struct presence *p);

/* The database did not take what was written last: nobody is let in. */
bool presence_is_refused(const struct presence *p);

/* An attach failed: whether the database takes anything is found out soon. */
void presence_refuse(struct presence *p);

/* Writes what there is, now. */
void presence_flush(struct presence *p);
