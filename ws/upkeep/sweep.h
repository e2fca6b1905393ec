/*
 * sweep - takes from the queue what its limits do not keep (tidings.sweep()): once a minute, some topics at a time.
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

/* Each tick, while the database is there: begins a sweep when a minute is over. */
void sweep_check(struct sweep *s, int64_t now_ms);
