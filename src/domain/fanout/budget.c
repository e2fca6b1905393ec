#include "domain/fanout/budget.h"

#include <assert.h>

void budget_init(struct budget *b, size_t bytes_max)
{
	b->bytes_max = bytes_max;
	b->bytes = 0;
	TAILQ_INIT(&b->holdings);
}

void budget_hold(struct budget *b, struct holding *h, size_t bytes, int64_t now_ms)
{
	b->bytes -= h->bytes;
	b->bytes += bytes;
	if (h->bytes == 0 && bytes > 0) {
		h->taken_ms = now_ms;
		TAILQ_INSERT_TAIL(&b->holdings, h, link);
	} else if (h->bytes > 0 && bytes == 0) {
		TAILQ_REMOVE(&b->holdings, h, link);
	}
	h->bytes = bytes;
}

void budget_taken(struct budget *b, struct holding *h, int64_t now_ms)
{
	if (h->bytes == 0)
		return;
	TAILQ_REMOVE(&b->holdings, h, link);
	h->taken_ms = now_ms;
	TAILQ_INSERT_TAIL(&b->holdings, h, link);
}

static bool is_at_most(const struct budget *b, size_t bytes, size_t most)
{
	return bytes <= most && b->bytes <= most - bytes;
}

bool budget_has_room(const struct budget *b, size_t bytes)
{
	return is_at_most(b, bytes, b->bytes_max - b->bytes_max / 4);
}

bool budget_fits(const struct budget *b, size_t bytes)
{
	return is_at_most(b, bytes, b->bytes_max);
}

void budget_reserve(struct budget *b, size_t bytes)
{
	b->bytes += bytes;
}

void budget_release(struct budget *b, size_t bytes)
{
	assert(b->bytes >= bytes);
	b->bytes -= bytes;
}

bool budget_is_over(const struct budget *b)
{
	return b->bytes > b->bytes_max;
}

/* Of those whose clients have taken nothing after `ms`. */
static struct holding *largest_since(const struct budget *b, int64_t ms)
{
	struct holding *largest = NULL, *h;
	unsigned looked = 0;

	TAILQ_FOREACH (h, &b->holdings, link) {
		if (h->taken_ms > ms || looked++ == BUDGET_LOOK_MAX)
			break;
		if (!largest || h->bytes > largest->bytes)
			largest = h;
	}
	return largest;
}

struct holding *budget_largest_idle(const struct budget *b, int64_t now_ms)
{
	return largest_since(b, now_ms - BUDGET_IDLE_MS);
}

struct holding *budget_largest(const struct budget *b)
{
	return largest_since(b, INT64_MAX);
}
