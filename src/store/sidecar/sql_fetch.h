/*
 * sql_fetch - tidings.fetch(), tidings.unsent(): messages after a seq.
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
#include "domain/topic/message.h"
#include "store/async/pipeline.h"

struct fetch_row {
	int64_t topic_id;
	struct stored_message message; /* lent; expires_ms is on clock_monotonic_ms() */
	bool revocation;	       /* message.to_user may not have the topic any more; it has no body */
	bool other_epoch; /* no message: the topic's epoch is not the one asked for, or it is gone. Its only row */
};

/* Messages of a topic that come after a seq, without a hole. */
struct fetch_page {
	int64_t topic_id;
	const char *epoch; /* lent */
	uint64_t after;
	const struct fetch_row *rows; /* lent; at least one */
	size_t count;
};

/* rows: lent; by topic in the order asked, then by seq */
typedef void (*fetch_answer)(void *context, enum err e, const struct fetch_row *rows, size_t count);

/*
 * Of each topic at most rows_max messages and, its first aside, bytes_max bytes.
 *
 *	topic_ids, after, epochs	parallel arrays, read until sql_fetch() returns
 */
enum err sql_fetch(struct pipeline *p, const int64_t *topic_ids, const int64_t *after, const char *const *epochs,
		   size_t count, int64_t rows_max, int64_t bytes_max, fetch_answer answer, void *context) MUST_CHECK;

/* Messages for one user alone that they have not been sent: after one seq and up to another. */
struct unsent {
	int64_t topic_id;
	const char *user_id; /* borrowed until sql_unsent() returns */
	uint64_t after, up_to;
};

enum err sql_unsent(struct pipeline *p, const struct unsent *u, int64_t rows_max, int64_t bytes_max,
		    fetch_answer answer, void *context) MUST_CHECK;
