#include "store/sidecar/sql_fetch_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/sidecar/sql_call.h"

#define EXPIRY_MAX_MS (INT64_C(1) << 53) /* ahead: longer than any clock of ours runs */

enum fetch_column { TOPIC_ID, SEQ, TO_USER, EXCLUDE, BODY, REVOCATION, EXPIRES_IN_MS, AGE_MS };

/* From the database's clock to ours: only what is left of the time is told. 0: it never expires. */
static int64_t expiry_at(const PGresult *r, int row, int column, int64_t now_ms)
{
	int64_t in_ms = sql_int8_at(r, row, column);

	return PQgetisnull(r, row, column) ? 0 : now_ms + MIN(MAX(in_ms, 0), EXPIRY_MAX_MS);
}

/* The same. 0: nobody says. */
static int64_t stored_at(const PGresult *r, int row, int column, int64_t now_ms)
{
	return PQgetisnull(r, row, column) ? 0 : MAX(now_ms - MAX(sql_int8_at(r, row, column), 0), 1);
}

static void read_row(struct fetch_row *made, struct uuid *kept, const PGresult *r, int row, int column, int64_t now_ms)
{
	const char *exclude = sql_text_at(r, row, column + EXCLUDE), *body = sql_text_at(r, row, column + BODY);
	size_t body_len = body ? (size_t)PQgetlength(r, row, column + BODY) : 0;

	made->topic_id = sql_int8_at(r, row, column + TOPIC_ID);
	made->other_epoch = PQgetisnull(r, row, column + SEQ);
	made->message.seq = (uint64_t)sql_int8_at(r, row, column + SEQ);
	made->message.to_user = sql_text_at(r, row, column + TO_USER);
	if (exclude && uuid_parse(kept, exclude, strlen(exclude)))
		made->message.exclude = kept;
	made->revocation = sql_bool_at(r, row, column + REVOCATION);
	/* "{}" at least: it is one that tidings.publish_batch() took. */
	if (body_len >= 2 && body[0] == '{' && !made->revocation)
		made->message.body = (struct span){body, body_len};
	made->message.expires_ms = expiry_at(r, row, column + EXPIRES_IN_MS, now_ms);
	made->message.stored_ms = stored_at(r, row, column + AGE_MS, now_ms);
}

enum err fetch_rows_read(struct fetch_rows *out, const PGresult *r, int first_row, int first_column)
{
	int64_t now_ms = clock_monotonic_ms();
	size_t count = (size_t)(PQntuples(r) - first_row);

	*out = (struct fetch_rows){0};
	if (count == 0)
		return OK;
	out->rows = calloc(count, sizeof(*out->rows));
	out->excludes = calloc(count, sizeof(*out->excludes));
	if (!out->rows || !out->excludes)
		return ERR_MEMORY;
	for (size_t i = 0; i < count; i++)
		read_row(&out->rows[i], &out->excludes[i], r, first_row + (int)i, first_column, now_ms);
	out->count = count;
	return OK;
}

void fetch_rows_free(struct fetch_rows *rows)
{
	free(rows->rows);
	free(rows->excludes);
	*rows = (struct fetch_rows){0};
}
