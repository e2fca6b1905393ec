/*
 * backoff - how long to wait before the next try: doubling, with full jitter, so that many who lost the same thing at
 * the same moment do not come back at the same moment.
 *
 * Layer    base: pure, the random number comes in.
 */
#pragma once

#include <stdint.h>

struct backoff {
	int64_t first_ms; /* at least 1: the longest first wait */
	int64_t max_ms;	  /* the longest wait at all; at least first_ms */
	int64_t next_ms;  /* the longest next wait; 0: first_ms */
};

/* A wait of 1 … the longest for this try, which doubles for the one after. */
int64_t backoff_wait_ms(struct backoff *b, uint64_t random);

/* It worked: start from first_ms again. */
void backoff_reset(struct backoff *b);

/* A random number for the above, from the system. */
uint64_t backoff_random(void);
