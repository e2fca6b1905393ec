#include "store/roster/sql_rosters.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/sidecar/sql_call.h"

struct rosters_call {
	rosters_answer answer;
	void *context;
};

static const struct statement rosters_statement = {
	"rosters", "select topic_id, users, clients, anonymous, leaves_in_ms, user_id, connections, since from "
		   "tidings.rosters($1, $2, $3, $4::int8, $5::int8)"};

enum rosters_column { TOPIC_ID, USERS, CLIENTS, ANONYMOUS, LEAVES_IN_MS, USER_ID, CONNECTIONS, SINCE };

static void add_user(struct roster *to, const PGresult *r, int row)
{
	const char *id = sql_text_at(r, row, USER_ID), *since = sql_text_at(r, row, SINCE);
	struct roster_user *u = &to->items[to->count];

	if (!id || !since)
		return;
	snprintf(u->id, sizeof(u->id), "%s", id);
	snprintf(u->since, sizeof(u->since), "%s", since);
	u->connections = sql_int8_at(r, row, CONNECTIONS);
	to->count++;
}

/* The rows of one topic, which begin here. Returns how many there are. */
static int read_roster(struct topic_roster *made, const PGresult *r, int row)
{
	int64_t id = sql_int8_at(r, row, TOPIC_ID);
	int end = row;

	while (end < PQntuples(r) && sql_int8_at(r, end, TOPIC_ID) == id)
		end++;
	*made = (struct topic_roster){
		.topic_id = id,
		.leaves_in_ms = PQgetisnull(r, row, LEAVES_IN_MS) ? -1 : sql_int8_at(r, row, LEAVES_IN_MS),
		.roster = roster_new((size_t)(end - row)),
	};
	if (made->roster) {
		made->roster->users = sql_int8_at(r, row, USERS);
		made->roster->clients = sql_int8_at(r, row, CLIENTS);
		made->roster->anonymous = sql_int8_at(r, row, ANONYMOUS);
		for (int i = row; i < end; i++)
			add_user(made->roster, r, i);
	}
	return end - row;
}

static void on_rosters(void *context, enum err e, const PGresult *rows)
{
	struct rosters_call call = *(struct rosters_call *)context;
	int total = e == OK ? PQntuples(rows) : 0;
	struct topic_roster *made = calloc((size_t)total + 1, sizeof(*made));
	size_t count = 0;

	free(context);
	if (!made) {
		call.answer(call.context, e != OK ? e : ERR_MEMORY, NULL, 0);
		return;
	}
	for (int row = 0; row < total;)
		row += read_roster(&made[count++], rows, row);
	call.answer(call.context, e, made, count);
	for (size_t i = 0; i < count; i++)
		free(made[i].roster);
	free(made);
}

enum err sql_rosters(struct pipeline *p, const struct rosters_question *q, rosters_answer answer, void *context)
{
	struct sql_params params = {0};

	sql_add_text(&params, q->node_id);
	sql_add_numbers(&params, q->topics, q->topics_count);
	sql_add_numbers(&params, q->unwatched, q->unwatched_count);
	sql_add_number(&params, ROSTER_MAX);
	sql_add_number(&params, q->grace_ms);
	return sql_send(p, &rosters_statement, &params, on_rosters,
			&(struct rosters_call){.answer = answer, .context = context}, sizeof(struct rosters_call));
}
