#include "base/backoff.h"

#include <sys/random.h>

#include "base/clock.h"
#include "base/defs.h"

int64_t backoff_wait_ms(struct backoff *b, uint64_t random)
{
	int64_t longest_ms = b->next_ms > 0 ? b->next_ms : b->first_ms;

	b->next_ms = longest_ms > b->max_ms / 2 ? b->max_ms : longest_ms * 2;
	return 1 + (int64_t)(random % (uint64_t)longest_ms);
}

void backoff_reset(struct backoff *b)
{
	b->next_ms = 0;
}

uint64_t backoff_random(void)
{
	uint64_t random = 0;

	/* Fails only on a kernel without it; the clock is jitter enough then. */
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return (uint64_t)clock_wall_us();
	return random;
}
