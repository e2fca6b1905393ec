/*
 * sql_rosters - tidings.rosters(): who is on the topics that a node watches (sql/code/42_roster.sql).
 *
 * A call answers once, later, with OK and its rosters or with an error and none; until then the caller keeps what `context` points
 * to. Arguments are borrowed until the call returns.
 *
 * Layer    store.
 * Threads  none: the event loop's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "domain/dialog/roster.h"
#include "store/async/pipeline.h"

struct rosters_question {
	const char *node_id;
	const int64_t *topics; /* whose rosters are asked for, and which the node watches from now on */
	size_t topics_count;
	const int64_t *unwatched; /* topics that it watches no longer */
	size_t unwatched_count;
	int64_t grace_ms;
};

struct topic_roster {
	int64_t topic_id;
	int64_t leaves_in_ms;  /* until the first of those who are away is gone; -1: nobody is */
	struct roster *roster; /* lent: whoever keeps it sets this NULL; NULL: no memory */
};

typedef void (*rosters_answer)(void *context, enum err e, struct topic_roster *rosters, size_t count);

enum err sql_rosters(struct pipeline *p, const struct rosters_question *q, rosters_answer answer,
		     void *context) MUST_CHECK;
