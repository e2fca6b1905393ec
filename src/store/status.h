/*
 * status - how things are, over all nodes (spec 3.4).
 *
 * Layer    store.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/db.h"

/* Appends the JSON object that tidings.status() makes. */
enum err status_read(struct db *db, struct buf *out) MUST_CHECK;

/* How many sidecars have said lately that they live. */
enum err status_live_nodes(struct db *db, int64_t *nodes) MUST_CHECK;
