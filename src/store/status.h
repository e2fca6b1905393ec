/*
 * status - how things are, over all nodes (spec 3.4): read by a thread of its own, for all who ask.
 *
 * /ws/status looks at every topic and every connection, and /health is asked by whoever likes. So a crowd gets one
 * answer: of the status one that is a second old at most, of the health the next that is read. A database that hangs
 * costs an asker no more than STATUS_WAIT_MS, and once it has kept one waiting for that long the others nothing.
 *
 * Layer    store.
 * Threads  any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/config.h"
#include "base/defs.h"
#include "base/err.h"

#define STATUS_AGE_MS 1000
#define STATUS_WAIT_MS 1000

struct status; /* opaque */

struct health {
	int64_t nodes; /* sidecars that have said lately that they live */
	bool stuck;    /* what is due has not been relayed for 10 s */
};

/*
 *	c	borrowed, for good
 *
 * ERR_CONFIG  TIDINGS_DATABASE is malformed
 */
enum err status_open(struct status **s, const struct config *c) MUST_CHECK;

/* Waits for what is being read, as long as that takes. */
void status_close(struct status **s);

/*
 * The JSON object of tidings.status(), and what of the outbox is due, since when, and was given up, appended.
 *
 *	totals_only	without the maps by diagnosis and the nodes
 *	read_us		out: when it was read, since 1970
 *
 * ERR_AWAY  not within STATUS_WAIT_MS
 * ERR_DATABASE, ERR_MEMORY
 */
enum err status_read(struct status *s, bool totals_only, struct buf *out, struct health *health,
		     int64_t *read_us) MUST_CHECK;

/* What works. Errors as above */
enum err status_health(struct status *s, struct health *health) MUST_CHECK;
