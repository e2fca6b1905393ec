#include "store/sidecar/sql_fetch.h"

#include <stdlib.h>

#include "store/sidecar/sql_call.h"
#include "store/sidecar/sql_fetch_rows.h"

struct fetch_call {
	fetch_answer answer;
	void *context;
};

static const struct statement fetch_statement = {"fetch",
						 "select topic_id, seq, to_user, exclude, body, revocation, "
						 "expires_in_ms, age_ms from tidings.fetch($1, $2, $3, $4, $5)"};

static const struct statement unsent_statement = {
	"unsent", "select $1::int8, seq, $2::text, null::text, body, false, "
		  "expires_in_ms, null::int8 from tidings.unsent($1, $2, $3, $4, $5, $6)"};

static void on_fetch(void *context, enum err e, const PGresult *rows)
{
	struct fetch_call call = *(struct fetch_call *)context;
	struct fetch_rows made = {0};

	free(context);
	if (e == OK)
		e = fetch_rows_read(&made, rows, 0, 0);
	call.answer(call.context, e, made.rows, made.count);
	fetch_rows_free(&made);
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
			&(struct fetch_call){.answer = answer, .context = context}, sizeof(struct fetch_call));
}
