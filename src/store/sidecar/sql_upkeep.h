/*
 * sql_upkeep - the outbox, what feedback amounts to, the sweep of old messages, the retention of what else is kept, and how the database is: one
 * sidecar at a time does the work.
 *
 * A call answers once, later, with OK and its rows or with an error and none; until then the caller keeps what `context` points
 * to. Arguments are borrowed until the call returns.
 *
 * Layer    store.
 * Threads  none: the event loop's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/async/pipeline.h"

/* ---- state: is the schema what this build is for, and is what is due relayed? */

typedef void (*state_answer)(void *context, enum err e, bool schema_fits, bool relay_moves);

enum err sql_state(struct pipeline *p, state_answer answer, void *context) MUST_CHECK;

/* ---- what an operator's page is told, where somebody watches it */

enum err sql_tell_operations(struct pipeline *p, const char *node_id) MUST_CHECK;

/* ---- relay, analyst, sweep, retention */

/* next_ms: in how many ms the next is due; 0: at once; -1: another node is at it; INT64_MAX: nothing waits */
typedef void (*relay_answer)(void *context, enum err e, int64_t next_ms);

enum err sql_relay(struct pipeline *p, int64_t queue_max, int64_t queue_min_age_s, relay_answer answer,
		   void *context) MUST_CHECK;

/* Counts what feedback is new, for about turn_ms. Answers as the relay does. */
enum err sql_analyse(struct pipeline *p, int64_t turn_ms, relay_answer answer, void *context) MUST_CHECK;

/* last_id: go on after it; -1: that was the end, or another node is at it */
typedef void (*sweep_answer)(void *context, enum err e, int64_t last_id);

/* after_id: go on after it; -1: begin, when it is this node's turn */
enum err sql_sweep(struct pipeline *p, int64_t after_id, int64_t queue_max, int64_t queue_min_age_s,
		   int64_t queue_ttl_s, int64_t keep_topics_s, sweep_answer answer, void *context) MUST_CHECK;

/* rest: there may be more to delete now */
typedef void (*retain_answer)(void *context, enum err e, bool rest);

/* For how long; 0: for ever. */
struct retained {
	int64_t readings_s, chat_s, notifications_s, devices_s;
};

/* begins: when it is this node's turn; false: goes on */
enum err sql_retain(struct pipeline *p, bool begins, const struct retained *kept, retain_answer answer,
		    void *context) MUST_CHECK;
