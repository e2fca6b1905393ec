/*
 * resume_point - where a client goes on in a topic, and whether it has missed messages before that; one or several, as
 * every transport tells them (spec sections 4 and 5).
 *
 * The cursor of several topics is theirs, joined by `.` in the order in which the client named the topics: so a client
 * that knows one for each can put it together itself.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* What told where it goes on. */
enum resumed_by {
	RESUMED_BY_QUEUE, /* nothing: it begins with what waits for whoever comes, or with as much as it wants */
	RESUMED_BY_CURSOR,
	RESUMED_BY_DEVICE, /* its name, from what it had confirmed */
};

struct resume_point {
	const char *topic; /* borrowed */
	const char *epoch; /* borrowed */
	uint64_t seq;	   /* what comes after it will be sent */
	enum resumed_by resumed_by;
	bool recovered;
	bool rewound;			 /* it gets the newest first: so its client, or the policy, has it */
	uint64_t missed_from, missed_to; /* 0: not known, or nothing */
};

/* Appends the cursor of all of them: `<epoch>-<seq>`, or several joined. */
void resume_points_add_cursor(struct buf *out, const struct resume_point *points, size_t count);

/*
 * Appends members of a JSON object: `"recovered":…` and `"resumed_by":…` (of several topics where that is the same), with `"missed":…`
 * where that is known of a single topic, and `"rewound":true`.
 *
 *	by_topic	`"topics":{"a":{"cursor":…,"recovered":…},…}` too: for a client that named topics
 */
void resume_points_add_recovery(struct buf *out, const struct resume_point *points, size_t count, bool by_topic);
