/*
 * tick - every WHEEL_STEP_MS: the deadlines of sessions, in slices, of requesters and of parked polls; and the order in which a
 * node's other duties come.
 *
 *	every 4 s	relay, and half a second later the heartbeat: so it finds what the relay has moved, also where nothing
 *			is notified
 *	every minute	a sweep
 *
 * Layer    ws.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"

struct node;
struct tick; /* opaque */

enum err tick_new(struct tick **t, struct node *n) MUST_CHECK;
void tick_free(struct tick **t);
