/*
 * status - how things are, over all nodes (spec 3.4).
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/db.h"

/* Appends the JSON object that tidings.status() makes. */
enum err status_read(struct db *db, struct buf *out) MUST_CHECK;

struct health {
	int64_t nodes;	   /* sidecars that have said lately that they live */
	bool stuck;	   /* what is due has not been relayed for 10 s */
	struct buf outbox; /* JSON: how much is due, for how long, how much was given up. The caller frees it */
};

/*
 * What works. On error `health` is as it was.
 */
enum err status_health(struct db *db, struct health *health) MUST_CHECK;
