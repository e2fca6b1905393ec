/*
 * rate - how much a caller may have done: a token bucket each (as GCRA: one number a caller).
 *
 * A cost is in parts of RATE_ONE, which is one of what `per_s` and `burst` count: a request, a message. What causes more
 * work costs more of them.
 *
 * Layer    domain: the time comes in.
 * Threads  none of its own: the caller locks.
 * Memory   at most `callers_max` buckets; when room is needed one that has refilled is dropped, of the eight that were not
 *          used for longest, else the oldest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

#define RATE_ONE 4096 /* so a byte of what is read costs 1: 4 KiB are as much as one message */

/* One bucket, for who keeps it in a struct of its own (a connection). All zero: full. */
struct rate_bucket {
	int64_t ready_us; /* monotonic: when the bucket will be full again */
};

/*
 * Takes the cost from the bucket. True: allowed; what costs more than a whole burst is allowed when the bucket is full, and
 * leaves a debt. False: refused, nothing taken, *retry_ms (if not NULL) says when there will be enough.
 *
 *	per_s	0: unlimited
 */
bool rate_take(struct rate_bucket *b, int64_t per_s, int64_t burst, int64_t cost, int64_t now_us, int64_t *retry_ms);

/* Takes the cost of what has been done, and was not known before; a debt if there is not so much. */
void rate_charge(struct rate_bucket *b, int64_t per_s, int64_t cost, int64_t now_us);

struct rate_table; /* opaque: buckets by caller name */

/*
 *	callers_max	at least 1
 */
enum err rate_table_new(struct rate_table **t, size_t callers_max) MUST_CHECK;
void rate_table_free(struct rate_table **t);

/* As those, for the bucket of `caller` (copied). Out of memory allows. */
bool rate_table_take(struct rate_table *t, const char *caller, int64_t per_s, int64_t burst, int64_t cost,
		     int64_t now_us, int64_t *retry_ms);
void rate_table_charge(struct rate_table *t, const char *caller, int64_t per_s, int64_t cost, int64_t now_us);
