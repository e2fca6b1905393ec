/*
 * token_cache - the claims of tokens that were found good, so that a token's signature is not checked each time it comes.
 *
 * Checking a signature takes 6 µs (HMAC) or 50 (a key pair), and a poller sends the same token with every poll. A value is
 * found by the SHA-256 of its token: tokens themselves are not kept.
 *
 * Layer    domain.
 * Threads  one at a time.
 * Memory   fixed: values_max values and 40 bytes for each; pages of slots that were never used are not touched. The cache is
 *          four-way: a token has four slots to choose from, and replaces the one unused for longest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/defs.h"
#include "base/err.h"

struct token_cache; /* opaque */

enum err token_cache_new(struct token_cache **c, size_t value_size, size_t values_max) MUST_CHECK;
void token_cache_free(struct token_cache **c);

/* The value of this token: lent, valid until the next token_cache_keep(). NULL: there is none. */
const void *token_cache_find(struct token_cache *c, struct span token);

/*
 * Keeps a value, instead of the one that the same token had.
 *
 *	value	copied: value_size bytes
 */
void token_cache_keep(struct token_cache *c, struct span token, const void *value);
