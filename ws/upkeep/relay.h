/*
 * relay - moves what is due from the outbox into the queue (tidings.relay()): when a notification says so, when the next
 * row is due, and with each cycle of the tick.
 *
 * One relay is under way at a time; of several nodes one relays, the others find out by RELAY_AGAIN_MS.
 *
 * Layer    ws.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"

struct node;
struct relay; /* opaque */

enum err relay_new(struct relay **r, struct node *n) MUST_CHECK;
void relay_free(struct relay **r);

/* The outbox has, or may have, something that is due. */
void relay_run(struct relay *r);
