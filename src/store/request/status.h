/*
 * status - how things are, over all nodes (spec 3.4): read by threads of its own, for all who ask.
 *
 * /ws/status looks at every connection, and with its maps at every topic; /health is asked by whoever likes. So a crowd
 * gets one answer: one that is a second old at most, and of what /health asks the database the next that is read. What
 * takes long to read (maps of a million topics) is older: read a fifth of the time, and given to who asks meanwhile. Each
 * check has a thread, and so has the status with its maps and without: one that hangs costs an asker no more than
 * STATUS_WAIT_MS, and once it has kept one waiting for that long the others nothing.
 *
 *	database	it answers
 *	sidecar		the one that this machine's web server asks answers, and one at least has told the database lately that it lives
 *	relay		what is due has been relayed within 10 s
 *	schema		it is what this build is for
 *	publishing	a commit is done, as a publisher's would be: no standby is missing that it waits for, the server is neither read-only nor out of disk
 *
 * Layer    store.
 * Threads  any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"
#include "store/request/status_copy.h"

#define STATUS_AGE_MS 1000
#define QUEUE_AGE_MS 10000

struct status; /* opaque */

enum check { CHECK_DATABASE, CHECK_SIDECAR, CHECK_RELAY, CHECK_PUBLISHING, CHECKS_COUNT };

enum condition { HEALTHY, UNHEALTHY, UNKNOWN };

struct health_report {
	enum condition checks[CHECKS_COUNT];
	enum condition schema;
	enum condition sidecar_ready; /* as CHECK_SIDECAR, and that sidecar says that it is ready */
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
 * ERR_AWAY  not within STATUS_WAIT_MS; of what takes longer: nothing is there that is younger than STATUS_KEPT_MS, or the
 *	     database does not answer
 * ERR_DATABASE, ERR_MEMORY; on any error health is there all the same
 */
enum err status_read(struct status *s, bool totals_only, struct buf *out, struct health_report *health,
		     int64_t *read_us) MUST_CHECK;

/*
 * What tidings.metrics() says of the queue, appended: read once in QUEUE_AGE_MS, whoever asks. Where it is not there within
 * STATUS_WAIT_MS, what was read before, as long as that is no older than STATUS_KEPT_MS.
 *
 * ERR_AWAY  there is none
 * ERR_DATABASE, ERR_MEMORY
 */
enum err status_metrics(struct status *s, struct buf *out) MUST_CHECK;

/* Within STATUS_WAIT_MS. */
void status_health(struct status *s, struct health_report *health);
