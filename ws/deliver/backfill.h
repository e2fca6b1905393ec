/*
 * backfill - gives subscriptions what lies before their topic's tail, page by page: messages that were missed before a client came
 * (state CATCHING), and those that the tail has dropped while a client was slow.
 *
 *	the tail has the next message		-> a page from the tail, at once
 *	else	-> a page from the database; one query for all subscriptions at the same seq of a topic, a few queries at a time
 *
 * A page is reserved in node.budget before it is made or read. Where there is no room, sessions that read nothing are given up;
 * where there are none, the page is a short one, which fits into an empty socket buffer. So 10,000 clients that come back at once
 * cost time, not memory. A session waits for the database for TIDINGS_SLOW_TIMEOUT at most (session.times.asked_ms).
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"
#include "ws/session/session.h"

enum err backfill_new(struct backfill **b, struct node *n) MUST_CHECK;
void backfill_free(struct backfill **b);

/*
 * Brings the session's CATCHING subscriptions on, one after the other, page by page, to STEP_CAUGHT_UP. Those that are still CATCHING when
 * it returns wait for a page that is on its way, or for the socket: then it is to be called again.
 */
void backfill_go_on(struct backfill *b, struct session *s);
