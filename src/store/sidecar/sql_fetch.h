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

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/async/pipeline.h"
#include "store/sidecar/fetch_page.h"

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
