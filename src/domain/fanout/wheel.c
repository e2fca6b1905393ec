#include "domain/fanout/wheel.h"

#include <stddef.h>

#include "base/defs.h"

void wheel_init(struct wheel *w, int64_t now_ms)
{
	for (size_t i = 0; i < WHEEL_SLOTS; i++)
		LIST_INIT(&w->slots[i]);
	w->now = w->target = now_ms / WHEEL_STEP_MS;
}

void wheel_set(struct wheel *w, struct wheel_entry *e, int64_t due_ms)
{
	/* Rounded up without a sum: INT64_MAX is never. */
	int64_t due = MAX(due_ms / WHEEL_STEP_MS + (due_ms % WHEEL_STEP_MS > 0), w->target + 1);

	if (e->due == due)
		return;
	wheel_unset(e);
	e->due = due;
	LIST_INSERT_HEAD(&w->slots[e->due % WHEEL_SLOTS], e, link);
}

void wheel_unset(struct wheel_entry *e)
{
	if (e->due == 0)
		return;
	LIST_REMOVE(e, link);
	e->due = 0;
}

struct wheel_entry *wheel_expire(struct wheel *w, int64_t now_ms)
{
	int64_t now = now_ms / WHEEL_STEP_MS;

	w->target = MAX(w->target, now);
	/* After a long pause one turn meets every slot. */
	if (now - w->now > WHEEL_SLOTS)
		w->now = now - WHEEL_SLOTS;
	while (w->now < now) {
		struct wheel_entry *e;

		LIST_FOREACH (e, &w->slots[(w->now + 1) % WHEEL_SLOTS], link) {
			if (e->due <= now) {
				wheel_unset(e);
				return e;
			}
		}
		w->now++;
	}
	return NULL;
}
