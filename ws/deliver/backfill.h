/*
 * backfill - gives sessions what their topic's tail can't: what they missed, and what moved on while they were slow.
 *
 * A page at a time a session, from the tail where that has it, else from the database (one for all who are at the same
 * place, a few at a time). A page is reserved in node.budget before it is made or read; where there is no room for it,
 * and nobody who does not take theirs makes some, it is a short one, which the socket takes at once. So ten thousand who
 * come back at once cost time, not memory, and those who do not read keep nobody from what they missed. A session waits
 * for the database for TIDINGS_SLOW_TIMEOUT at most (session.asked_ms).
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"
#include "ws/session/session.h"

enum err backfill_new(struct backfill **b, struct node *n) MUST_CHECK;
void backfill_free(struct backfill **b);

/*
 * STEP_PAGE and STEP_CAUGHT_UP: brings those of a session's subscriptions that are CATCHING further, one after the other. Where one still is when it
 * returns, a page is on its way, or the session takes no bytes: this has to be called again when it does.
 */
void backfill_go_on(struct backfill *b, struct session *s);
