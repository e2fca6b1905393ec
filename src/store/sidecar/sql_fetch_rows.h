/*
 * sql_fetch_rows - messages in an answer of tidings.fetch(), unsent() or attach(), as fetch_rows.
 *
 * Their columns are, one behind the other: topic_id, seq, to_user, exclude, body, revocation, expires_in_ms, age_ms.
 *
 * Layer    store: for files of this folder only.
 */
#pragma once

#include <libpq-fe.h>
#include <stddef.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/sidecar/fetch_page.h"

struct fetch_rows {
	struct fetch_row *rows; /* owned; what they lend is the answer's */
	struct uuid *excludes;	/* owned: the rows' */
	size_t count;
};

/*
 * The rows from `first_row` to the last one.
 *
 *	first_column	of the eight
 *	out		freed by fetch_rows_free(), on an error too
 *
 * ERR_MEMORY
 */
enum err fetch_rows_read(struct fetch_rows *out, const PGresult *r, int first_row, int first_column) MUST_CHECK;
void fetch_rows_free(struct fetch_rows *rows);
