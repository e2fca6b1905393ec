/*
 * rate - how often a caller may do something: a token bucket each (as GCRA: one number a caller).
 *
 * Layer    domain: the time comes in.
 * Threads  none of its own: the caller locks.
 * Memory   at most `callers_max` buckets; one that has refilled is dropped when room is needed, else the oldest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

/* One bucket, for who keeps it in a struct of its own (a connection). All zero: full. */
struct rate_bucket {
	int64_t ready_us; /* monotonic: when the bucket will be full again */
};

/*
 * Takes one from the bucket. True: allowed. False: refused, nothing taken, *retry_ms (if not NULL) says when one will
 * be there.
 *
 *	per_s	0: unlimited
 */
bool rate_take(struct rate_bucket *b, int64_t per_s, int64_t burst, int64_t now_us, int64_t *retry_ms);

struct rate_table; /* opaque: buckets by caller name */

/*
 *	callers_max	at least 1
 */
enum err rate_table_new(struct rate_table **t, size_t callers_max) MUST_CHECK;
void rate_table_free(struct rate_table **t);

/* As rate_take(), for the bucket of `caller` (copied). Out of memory allows. */
bool rate_table_take(struct rate_table *t, const char *caller, int64_t per_s, int64_t burst, int64_t now_us,
		     int64_t *retry_ms);
