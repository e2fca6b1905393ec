/*
 * token_cache - what was found out about some bytes, so that it need not be found out again.
 *
 * To check a token's signature takes 6 µs, or 50, and a poller sends the same token with every poll. What is kept is
 * found under the SHA-256 of the bytes, never under the bytes themselves.
 *
 * Layer    domain.
 * Threads  one at a time.
 * Memory   fixed: values_max values and 40 bytes for each, but what was never used is not touched. A value may be
 * forgotten any time: of the four places that its bytes may have, the one longest unused goes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/defs.h"
#include "base/err.h"

struct memo; /* opaque */

enum err memo_new(struct memo **m, size_t value_size, size_t values_max) MUST_CHECK;
void memo_free(struct memo **m);

/* What is kept about these bytes: lent, valid until the next memo_keep(). NULL: nothing. */
const void *memo_find(struct memo *m, struct span bytes);

/*
 * Keeps it, in the place of what was kept about the same bytes.
 *
 *	value	copied: value_size bytes
 */
void memo_keep(struct memo *m, struct span bytes, const void *value);
