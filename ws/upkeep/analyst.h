/*
 * analyst - counts what feedback is new, and tells those whom it concerns (tidings.analyse()): when a notification says so,
 * when there is more to do, and with each cycle of the tick.
 *
 *	idle -> due		the timer is set: ANALYST_PERIOD_MS after the last turn began, so that what comes together is counted together
 *	due -> under way	a turn, of about ANALYST_TURN_MS
 *	under way -> due	there is more to do: at once when feedback is left to count
 *	under way -> idle	there is not
 *
 * Of several nodes one is at work, the others find out by the next cycle.
 *
 * Layer    ws.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"

struct node;
struct analyst; /* opaque */

enum err analyst_new(struct analyst **a, struct node *n) MUST_CHECK;
void analyst_free(struct analyst **a);

/* There is, or may be, something to count. */
void analyst_run(struct analyst *a);
