/*
 * backfill - gives subscriptions what lies before their topic's tail, page by page: messages that were missed before a client came
 * (state CATCHING), and those that the tail has dropped while a client was slow.
 *
 *	the tail has the next message		-> a page from the tail, at once
 *	a page that is lent has it		-> that one, at once: the first came with the answer that let the client in
 *	else	-> a page from the database; one query for all subscriptions at the same seq of a topic, a few queries at a time
 *
 * A page is reserved in node.budget before it is made or read. Where there is no room, sessions that read nothing are given up;
 * where there are none, the page is a short one, which fits into an empty socket buffer. So 10,000 clients that come back at once
 * cost time, not memory. A session waits for the database for TIDINGS_SLOW_TIMEOUT at most (session.times.asked_ms).
 *
 * Layer    ws.
 */
#pragma once

#include "store/sidecar/fetch_page.h"
#include "ws/node.h"
#include "ws/session/session.h"

#define PAGE_ROWS 500
/* Bytes of messages in a page, from when on it is full: well under the 1 MiB that many clients take in one message. */
#define PAGE_BYTES 262144
#define MESSAGE_MAX 262144 /* bytes of a message's body: a page's last may begin where it is nearly full */

enum err backfill_new(struct backfill **b, struct node *n) MUST_CHECK;
void backfill_free(struct backfill **b);

/*
 * Brings the session's CATCHING subscriptions on, one after the other, page by page, to STEP_CAUGHT_UP. Those that are still CATCHING when
 * it returns wait for a page that is on its way, or for the socket: then it is to be called again.
 */
void backfill_go_on(struct backfill *b, struct session *s);

/*
 * Pages that need not be asked for.
 *
 *	pages	borrowed until it is called with none
 */
void backfill_lend(struct backfill *b, const struct fetch_page *pages, size_t count);
