#include "store/sidecar/sql_fetch.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/sidecar/sql_call.h"

#define EXPIRY_MAX_MS (INT64_C(1) << 53) /* ahead: longer than any clock of ours runs */

struct fetch_call {
	fetch_answer answer;
	void *context;
	int64_t topic_id; /* of all rows; 0: they tell */
};

static const struct statement fetch_statement = {"fetch",
						 "select topic_id, seq, to_user, exclude, body, revocation, "
						 "expires_in_ms, age_ms from tidings.fetch($1, $2, $3, $4, $5)"};

static const struct statement unsent_statement = {
	"unsent", "select 0::int8, seq, $2::text, null::text, body, false, "
		  "expires_in_ms, null::int8 from tidings.unsent($1, $2, $3, $4, $5, $6)"};

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

static void on_fetch(void *context, enum err e, const PGresult *rows)
{
	struct fetch_call call = *(struct fetch_call *)context;
	size_t count = e == OK ? (size_t)PQntuples(rows) : 0;
	int64_t now_ms = clock_monotonic_ms();
	struct fetch_row *made = count > 0 ? calloc(count, sizeof(*made)) : NULL;
	struct uuid *excludes = count > 0 ? calloc(count, sizeof(*excludes)) : NULL;

	free(context);
	if (count > 0 && (!made || !excludes)) {
		e = ERR_MEMORY;
		count = 0;
	}
	for (int i = 0; i < (int)count; i++) {
		const char *exclude = sql_text_at(rows, i, 3), *body = sql_text_at(rows, i, 4);
		size_t body_len = body ? (size_t)PQgetlength(rows, i, 4) : 0;

		made[i].topic_id = call.topic_id ? call.topic_id : sql_int8_at(rows, i, 0);
		made[i].other_epoch = PQgetisnull(rows, i, 1);
		made[i].message.seq = (uint64_t)sql_int8_at(rows, i, 1);
		made[i].message.to_user = sql_text_at(rows, i, 2);
		if (exclude && uuid_parse(&excludes[i], exclude, strlen(exclude)))
			made[i].message.exclude = &excludes[i];
		made[i].revocation = sql_bool_at(rows, i, 5);
		/* "{}" at least: it is one that tidings.publish_batch() took. */
		if (body_len >= 2 && body[0] == '{' && !made[i].revocation)
			made[i].message.body = (struct span){body, body_len};
		made[i].message.expires_ms = expiry_at(rows, i, 6, now_ms);
		made[i].message.stored_ms = stored_at(rows, i, 7, now_ms);
	}
	call.answer(call.context, e, made, count);
	free(made);
	free(excludes);
}

enum err sql_fetch(struct pipeline *p, const int64_t *topic_ids, const int64_t *after, const char *const *epochs,
		   size_t count, int64_t rows_max, int64_t bytes_max, fetch_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_numbers(&params, topic_ids, count);
	sql_add_numbers(&params, after, count);
	sql_add_texts(&params, epochs, count);
	sql_add_number(&params, rows_max);
	sql_add_number(&params, bytes_max);
	return sql_send(p, &fetch_statement, &params, on_fetch,
			&(struct fetch_call){.answer = answer, .context = context}, sizeof(struct fetch_call));
}

enum err sql_unsent(struct pipeline *p, const struct unsent *u, int64_t rows_max, int64_t bytes_max,
		    fetch_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_number(&params, u->topic_id);
	sql_add_text(&params, u->user_id);
	sql_add_number(&params, (int64_t)u->after);
	sql_add_number(&params, (int64_t)u->up_to);
	sql_add_number(&params, rows_max);
	sql_add_number(&params, bytes_max);
	return sql_send(p, &unsent_statement, &params, on_fetch,
			&(struct fetch_call){.answer = answer, .context = context, .topic_id = u->topic_id},
			sizeof(struct fetch_call));
}
