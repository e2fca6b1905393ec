/*
 * sweep - deletes what is not kept, once a minute: from the queues (tidings.sweep()), some topics at a time; and old readings, chat messages
 * and notifications (tidings.retain()), a step each tick while there is more. What is between two steps is everybody else's.
 *
 * Layer    ws.
 */
#pragma once

#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

struct node;
struct sweep; /* opaque */

enum err sweep_new(struct sweep **s, struct node *n) MUST_CHECK;
void sweep_free(struct sweep **s);

/* Each tick, while the database is there: begins when a minute is over. */
void sweep_check(struct sweep *s, int64_t now_ms);
