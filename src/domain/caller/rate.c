#include "domain/caller/rate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"

#define US_PER_S 1000000
#define LOOK_MAX 8 /* buckets looked at for a full one, before the oldest has to go */

struct caller {
	struct rate_bucket bucket;
	UT_hash_handle hh;
	TAILQ_ENTRY(caller) by_use;
	char name[];
};

struct rate_table {
	struct caller *by_name;			/* uthash: the same callers as by_use */
	TAILQ_HEAD(caller_list, caller) by_use; /* last used last */
	size_t callers_max;
};

static int64_t time_of(int64_t cost, int64_t interval_us)
{
	return cost * interval_us / RATE_ONE;
}

bool rate_take(struct rate_bucket *b, int64_t per_s, int64_t burst, int64_t cost, int64_t now_us, int64_t *retry_ms)
{
	int64_t interval_us = 0;
	int64_t ready_us = 0;
	int64_t early_us = 0;

	if (per_s == 0)
		return true;
	interval_us = MAX(US_PER_S / per_s, 1);
	ready_us = MAX(b->ready_us, now_us);
	early_us = ready_us + time_of(MIN(cost, burst * RATE_ONE), interval_us) - now_us - burst * interval_us;
	if (early_us > 0) {
		if (retry_ms)
			*retry_ms = (early_us + 999) / 1000;
		return false;
	}
	b->ready_us = ready_us + time_of(cost, interval_us);
	return true;
}

void rate_charge(struct rate_bucket *b, int64_t per_s, int64_t cost, int64_t now_us)
{
	if (per_s > 0)
		b->ready_us = MAX(b->ready_us, now_us) + time_of(cost, MAX(US_PER_S / per_s, 1));
}

enum err rate_table_new(struct rate_table **out, size_t callers_max)
{
	struct rate_table *t = calloc(1, sizeof(*t));

	*out = t;
	if (!t)
		return ERR_MEMORY;
	TAILQ_INIT(&t->by_use);
	t->callers_max = callers_max;
	return OK;
}

static void drop(struct rate_table *t, struct caller *c)
{
	TAILQ_REMOVE(&t->by_use, c, by_use);
	HASH_DEL(t->by_name, c);
	free(c);
}

void rate_table_free(struct rate_table **out)
{
	struct rate_table *t = *out;
	struct caller *c = NULL;

	if (!t)
		return;
	while ((c = TAILQ_FIRST(&t->by_use)))
		drop(t, c);
	free(t);
	*out = NULL;
}

static void make_room(struct rate_table *t, int64_t now_us)
{
	struct caller *c = TAILQ_FIRST(&t->by_use);

	if (HASH_COUNT(t->by_name) < t->callers_max)
		return;
	for (int looked = 0; c && looked < LOOK_MAX; looked++, c = TAILQ_NEXT(c, by_use)) {
		if (c->bucket.ready_us <= now_us) {
			drop(t, c);
			return;
		}
	}
	drop(t, TAILQ_FIRST(&t->by_use));
}

static struct caller *add(struct rate_table *t, const char *name, size_t len)
{
	struct caller *c = calloc(1, sizeof(*c) + len + 1);

	if (!c)
		return NULL;
	memcpy(c->name, name, len + 1);
	HASH_ADD_KEYPTR(hh, t->by_name, c->name, len, c);
	if (!HASH_HAS(hh, c)) {
		free(c);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&t->by_use, c, by_use);
	return c;
}

/* The caller's bucket, made if new; NULL: no memory. */
static struct rate_bucket *find(struct rate_table *t, const char *caller, int64_t now_us)
{
	size_t len = strlen(caller);
	struct caller *c = NULL;

	HASH_FIND(hh, t->by_name, caller, len, c);
	if (c) {
		TAILQ_REMOVE(&t->by_use, c, by_use);
		TAILQ_INSERT_TAIL(&t->by_use, c, by_use);
	} else {
		make_room(t, now_us);
		c = add(t, caller, len);
	}
	return c ? &c->bucket : NULL;
}

bool rate_table_take(struct rate_table *t, const char *caller, int64_t per_s, int64_t burst, int64_t cost,
		     int64_t now_us, int64_t *retry_ms)
{
	struct rate_bucket *b = per_s > 0 ? find(t, caller, now_us) : NULL;

	return !b || rate_take(b, per_s, burst, cost, now_us, retry_ms);
}

void rate_table_charge(struct rate_table *t, const char *caller, int64_t per_s, int64_t cost, int64_t now_us)
{
	struct rate_bucket *b = per_s > 0 ? find(t, caller, now_us) : NULL;

	if (b)
		rate_charge(b, per_s, cost, now_us);
}
