/*
 * wheel - deadlines of many objects, in steps of 200 ms (a hashed timing wheel).
 *
 * Ten thousand connections have a heartbeat, a token that expires and an idle limit. Each has ONE entry, set to the
 * earliest of what it waits for; setting, moving and taking out cost the same however many there are.
 *
 *	wheel_set(entry, due)		again and again
 *	once a step: wheel_expire()	gives back, one by one, what is due; its owner looks what it was and sets the
 *					next
 *
 * Layer    domain: the time comes in, in monotonic milliseconds.
 * Threads  none: the event loop's.
 * Memory   the entries are their owners'.
 */
#pragma once

#include <stdint.h>
#include <sys/queue.h>

struct wheel_entry {
	LIST_ENTRY(wheel_entry) link;
	int64_t due; /* step; 0: in no wheel */
};

#define WHEEL_STEP_MS 200
#define WHEEL_SLOTS 4096 /* steps a turn; what is further away is met once a turn and stays */

LIST_HEAD(wheel_slot, wheel_entry);

struct wheel {
	int64_t now;	/* step: everything due up to here was given back */
	int64_t target; /* step: how far wheel_expire() is going: nothing is set before it, or it would never end */
	struct wheel_slot slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, int64_t now_ms);

/* Never early; late by less than a step and the owner's tick. An entry that is set already is moved. */
void wheel_set(struct wheel *w, struct wheel_entry *e, int64_t due_ms);

/* Does nothing to an entry that is in no wheel. */
void wheel_unset(struct wheel_entry *e);

/* The next entry that is due, taken out; NULL when there is none. */
struct wheel_entry *wheel_expire(struct wheel *w, int64_t now_ms);
