/*
 * roster_watch - clients that want to know who is on their topics: presence=yes (spec section 7).
 *
 * The database alone knows who is where (sql/code/42_roster.sql). A topic with watchers here is read anew when it is rung, when the first of
 * those who left will be gone, and now and then, in case a ring got lost; what has changed since it was read last is told to those who
 * have been told that. A watcher who missed something, because it takes no bytes or is a poll between two requests, is told all of it
 * once it can be.
 *
 *	roster_watch_join(sub)	-> its topic is read, unless it is watched already -> all of it
 *	rung, or due		-> read -> join and leave; of a large topic the numbers alone, and not as often
 *	roster_watch_leave(sub)	-> the last watcher of a topic: it is not rung for any more
 *
 * Who does not ask for it costs nothing here: subscriptions without a watcher, topics without one, are not looked at.
 *
 * Layer    ws.
 * Memory   a roster (domain/dialog/roster.h) for each topic that is watched.
 */
#pragma once

#include "ws/node.h"
#include "ws/session/subscription.h"

enum err roster_watch_new(struct roster_watch **w, struct node *n) MUST_CHECK;
void roster_watch_free(struct roster_watch **w); /* nobody watches any more */

/* It is live, and wants to know, or not: it watches from now on, or goes on to; or does not. */
void roster_watch_join(struct roster_watch *w, struct subscription *sub);

/* It takes bytes again. */
void roster_watch_ready(struct roster_watch *w, struct subscription *sub);

/* It is gone. Does nothing where it does not watch. */
void roster_watch_leave(struct roster_watch *w, struct subscription *sub);

/*
 * These topics have changed, for all that is known.
 *
 *	ids	"12,45": as the order has them
 */
void roster_watch_rung(struct roster_watch *w, const char *ids);

/* So may all of them: nothing was heard for a while. */
void roster_watch_ring_all(struct roster_watch *w);

/*
 * The database did not know this node any more: it may not know others either yet, nor who was there. Users are not taken to be gone
 * until all nodes that live must have come back.
 */
void roster_watch_doubt(struct roster_watch *w);
