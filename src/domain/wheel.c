#include "domain/wheel.h"

#include <stddef.h>

#include "base/defs.h"

void wheel_init(struct wheel *w, int64_t now_ms)
{
	for (size_t i = 0; i < WHEEL_SLOTS; i++)
		LIST_INIT(&w->slots[i]);
	w->now_s = w->target_s = now_ms / 1000;
}

void wheel_set(struct wheel *w, struct wheel_entry *e, int64_t due_ms)
{
	wheel_unset(e);
	e->due_s = MAX((due_ms + 999) / 1000, w->target_s + 1);
	LIST_INSERT_HEAD(&w->slots[e->due_s % WHEEL_SLOTS], e, link);
}

void wheel_unset(struct wheel_entry *e)
{
	if (e->due_s == 0)
		return;
	LIST_REMOVE(e, link);
	e->due_s = 0;
}

struct wheel_entry *wheel_expire(struct wheel *w, int64_t now_ms)
{
	int64_t now_s = now_ms / 1000;

	w->target_s = MAX(w->target_s, now_s);
	/* After a long pause one turn meets every slot. */
	if (now_s - w->now_s > WHEEL_SLOTS)
		w->now_s = now_s - WHEEL_SLOTS;
	while (w->now_s < now_s) {
		struct wheel_entry *e;

		LIST_FOREACH(e, &w->slots[(w->now_s + 1) % WHEEL_SLOTS], link) {
			if (e->due_s <= now_s) {
				wheel_unset(e);
				return e;
			}
		}
		w->now_s++;
	}
	return NULL;
}
