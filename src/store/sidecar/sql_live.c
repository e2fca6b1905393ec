#include "store/sidecar/sql_live.h"

#include <stdlib.h>
#include <string.h>

#include "store/sidecar/sql_call.h"

struct admit_call {
	admit_answer answer;
	void *context;
};

struct act_call {
	act_answer answer;
	void *context;
};

struct redeliver_call {
	redeliver_answer answer;
	void *context;
};

struct accounts_call {
	accounts_answer answer;
	void *context;
};

static const struct statement admit_statement = {"admit", "select tidings.admit($1, $2, $3, $4, $5, $6::boolean, $7)"};

static void on_admit(void *context, enum err e, const PGresult *rows)
{
	struct admit_call call = *(struct admit_call *)context;
	const char *outcome;

	free(context);
	if (e == OK) {
		outcome = PQntuples(rows) == 1 ? sql_text_at(rows, 0, 0) : NULL;
		if (!outcome)
			e = ERR_DATABASE;
		else if (strcmp(outcome, "ok") != 0)
			e = strcmp(outcome, "no_user") == 0 ? ERR_UNAUTHORIZED : ERR_LIMIT;
	}
	call.answer(call.context, e);
}

enum err sql_admit(struct pipeline *p, const struct admission *a, admit_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_text(&params, a->node_id);
	sql_add_text(&params, a->user_id);
	sql_add_text(&params, a->connection_id);
	sql_add_text(&params, a->transport);
	sql_add_text(&params, a->connected_at);
	sql_add_bool(&params, a->require_user);
	sql_add_number(&params, a->connections_max);
	return sql_send(p, &admit_statement, &params, on_admit,
			&(struct admit_call){.answer = answer, .context = context}, sizeof(struct admit_call));
}

static const struct statement act_statement = {"act", ACT_SQL(ACT_CALL)};

static void on_act(void *context, enum err e, const PGresult *rows)
{
	struct act_call call = *(struct act_call *)context;
	struct act_row row = {0};

	free(context);
	if (e == OK && PQntuples(rows) != 1)
		e = ERR_DATABASE;
	if (e == OK) {
		row = (struct act_row){act_outcome(sql_text_at(rows, 0, ACT_OUTCOME)), sql_text_at(rows, 0, ACT_DETAIL),
				       sql_text_at(rows, 0, ACT_REPLY), sql_int8_at(rows, 0, ACT_SIZE)};
		if (row.outcome == ERR_DATABASE || (row.outcome == OK && !row.reply))
			e = ERR_DATABASE;
	}
	call.answer(call.context, e, e == OK ? &row : NULL);
}

enum err sql_act(struct pipeline *p, const struct act *a, act_answer answer, void *context)
{
	struct sql_params params = {0};
	struct act_params of_act;

	act_fill_params(a, &of_act);
	for (size_t i = 0; i < ARRAY_LEN(of_act.values); i++)
		sql_add_text(&params, of_act.values[i]);
	return sql_send(p, &act_statement, &params, on_act, &(struct act_call){.answer = answer, .context = context},
			sizeof(struct act_call));
}

static const struct statement redeliver_statement = {"redeliver", "select tidings.redeliver(array[$1::text])"};

static void on_redeliver(void *context, enum err e, const PGresult *rows)
{
	struct redeliver_call call = *(struct redeliver_call *)context;

	free(context);
	if (e == OK && PQntuples(rows) != 1)
		e = ERR_DATABASE;
	call.answer(call.context, e, e == OK ? sql_int8_at(rows, 0, 0) : 0);
}

enum err sql_redeliver(struct pipeline *p, const char *user_id, redeliver_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_text(&params, user_id);
	return sql_send(p, &redeliver_statement, &params, on_redeliver,
			&(struct redeliver_call){.answer = answer, .context = context}, sizeof(struct redeliver_call));
}

static const struct statement accounts_statement = {"accounts", SQL_WITHDRAWN_USERS};

static void on_accounts(void *context, enum err e, const PGresult *rows)
{
	struct accounts_call call = *(struct accounts_call *)context;
	size_t count = e == OK ? (size_t)PQntuples(rows) : 0;
	const char **made = count > 0 ? calloc(count, sizeof(*made)) : NULL;

	free(context);
	if (count > 0 && !made) {
		e = ERR_MEMORY;
		count = 0;
	}
	for (int i = 0; i < (int)count; i++)
		made[i] = sql_text_at(rows, i, 0);
	call.answer(call.context, e, made, count);
	free(made);
}

enum err sql_accounts(struct pipeline *p, const char *const *user_ids, size_t count, accounts_answer answer,
		      void *context)
{
	struct sql_params params = {0};

	sql_add_texts(&params, user_ids, count);
	return sql_send(p, &accounts_statement, &params, on_accounts,
			&(struct accounts_call){.answer = answer, .context = context}, sizeof(struct accounts_call));
}
