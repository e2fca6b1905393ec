#include "store/sidecar/sql_upkeep.h"

#include <stdlib.h>

#include "store/admin/schema.h"
#include "store/sidecar/sql_call.h"

struct state_call {
	state_answer answer;
	void *context;
};

struct relay_call {
	relay_answer answer;
	void *context;
};

struct sweep_call {
	sweep_answer answer;
	void *context;
};

struct retain_call {
	retain_answer answer;
	void *context;
};

static const struct statement state_statement = {
	"state", "select coalesce(" SCHEMA_APPLIED
		 " = $1, false)::int::int8, (not o.stuck)::int::int8 from tidings.outbox_state() o"};

static void on_state(void *context, enum err e, const PGresult *rows)
{
	struct state_call call = *(struct state_call *)context;

	free(context);
	if (e == OK && PQntuples(rows) != 1)
		e = ERR_DATABASE;
	call.answer(call.context, e, e == OK && sql_int8_at(rows, 0, 0) == 1, e == OK && sql_int8_at(rows, 0, 1) == 1);
}

enum err sql_state(struct pipeline *p, state_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_text(&params, schema_files);
	return sql_send(p, &state_statement, &params, on_state,
			&(struct state_call){.answer = answer, .context = context}, sizeof(struct state_call));
}

static const struct statement tell_operations_statement = {"tell_operations", "select tidings.tell_operations($1)"};

static void on_told(void *context, enum err e, const PGresult *rows)
{
	(void)e; /* the next heartbeat tells again */
	(void)rows;
	free(context);
}

enum err sql_tell_operations(struct pipeline *p, const char *node_id)
{
	struct sql_params params = {0};
	char nothing = 0;

	sql_add_text(&params, node_id);
	return sql_send(p, &tell_operations_statement, &params, on_told, &nothing, sizeof(nothing));
}

static const struct statement relay_statement = {"relay", "select tidings.relay($1, $2)"};

static const struct statement analyse_statement = {"analyse", "select tidings.analyse($1)"};

static const struct statement sweep_statement = {"sweep", "select tidings.sweep($1, $2, $3, $4, $5, $6, $7, $8)"};

#define SWEEP_TOPICS 500 /* in one transaction */
#define SWEEP_ROWS 1000
#define SWEEP_MS 50 /* with topics locked */

static const struct statement retain_statement = {
	"retain", "select tidings.retain($1::boolean, $2, $3, $4, $5, $6, $7)::int::int8"};

#define RETAIN_ROWS 1000 /* of each kind, in one transaction */
#define RETAIN_MS 20	 /* acts wait so long behind it */

static void on_relay(void *context, enum err e, const PGresult *rows)
{
	struct relay_call call = *(struct relay_call *)context;
	bool found = e == OK && PQntuples(rows) == 1 && !PQgetisnull(rows, 0, 0);

	free(context);
	call.answer(call.context, e, found ? sql_int8_at(rows, 0, 0) : INT64_MAX);
}

static void on_sweep(void *context, enum err e, const PGresult *rows)
{
	struct sweep_call call = *(struct sweep_call *)context;
	bool found = e == OK && PQntuples(rows) == 1 && !PQgetisnull(rows, 0, 0);

	free(context);
	call.answer(call.context, e, found ? sql_int8_at(rows, 0, 0) : -1);
}

static void on_retain(void *context, enum err e, const PGresult *rows)
{
	struct retain_call call = *(struct retain_call *)context;

	free(context);
	call.answer(call.context, e, e == OK && PQntuples(rows) == 1 && sql_int8_at(rows, 0, 0) == 1);
}

enum err sql_relay(struct pipeline *p, int64_t queue_max, int64_t queue_min_age_s, relay_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_number(&params, queue_max);
	sql_add_number(&params, queue_min_age_s);
	return sql_send(p, &relay_statement, &params, on_relay,
			&(struct relay_call){.answer = answer, .context = context}, sizeof(struct relay_call));
}

enum err sql_analyse(struct pipeline *p, int64_t turn_ms, relay_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_number(&params, turn_ms);
	return sql_send(p, &analyse_statement, &params, on_relay,
			&(struct relay_call){.answer = answer, .context = context}, sizeof(struct relay_call));
}

enum err sql_sweep(struct pipeline *p, int64_t after_id, int64_t queue_max, int64_t queue_min_age_s,
		   int64_t queue_ttl_s, int64_t keep_topics_s, sweep_answer answer, void *context)
{
	struct sql_params params = {0};

	if (after_id < 0)
		sql_add_text(&params, NULL);
	else
		sql_add_number(&params, after_id);
	sql_add_number(&params, SWEEP_TOPICS);
	sql_add_number(&params, SWEEP_ROWS);
	sql_add_number(&params, queue_max);
	sql_add_number(&params, queue_min_age_s);
	sql_add_number(&params, queue_ttl_s);
	sql_add_number(&params, keep_topics_s);
	sql_add_number(&params, SWEEP_MS);
	return sql_send(p, &sweep_statement, &params, on_sweep,
			&(struct sweep_call){.answer = answer, .context = context}, sizeof(struct sweep_call));
}

enum err sql_retain(struct pipeline *p, bool begins, const struct retained *kept, retain_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_bool(&params, begins);
	sql_add_number(&params, RETAIN_ROWS);
	sql_add_number(&params, RETAIN_MS);
	sql_add_number(&params, kept->readings_s);
	sql_add_number(&params, kept->chat_s);
	sql_add_number(&params, kept->notifications_s);
	sql_add_number(&params, kept->devices_s);
	return sql_send(p, &retain_statement, &params, on_retain,
			&(struct retain_call){.answer = answer, .context = context}, sizeof(struct retain_call));
}
