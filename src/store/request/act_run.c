#include "store/request/act_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log/log.h"
#include "domain/caller/rate.h"
#include "store/blocking/db_internal.h"
#include "store/wire/act.h"

enum {
	USER,
	ROLE,
	CONNECTION,
	TYPE,
	DATA,
	CORRELATION,
	QUEUE_MAX,
	QUEUE_MIN_AGE,
	REQUIRE_USER,
	DAILY_MAX,
	PARAMETERS_COUNT
};
enum { KEY = PARAMETERS_COUNT, FINGERPRINT, ONCE_PARAMETERS_COUNT };
enum { OUTCOME, DETAIL, REPLY, TOPIC, SEQ, CLIENTS, SIZE };

#define PER_REQUEST 16 /* messages that are as much as one request */
#define ACT_SIZE "CASE outcome WHEN 'ok' THEN tidings.act_size($4::text, $5::json) ELSE 1 END"

static const struct db_statement act_statement = {
	"act",
	"SELECT outcome, detail, reply, topic, seq, clients, " ACT_SIZE
	" FROM tidings.act($1::text, $2::text, $3::text, $4::text, "
	"$5::json, $6::text, $7::int8, $8::int8, $9::boolean, $10::int8)",
};

static const struct db_statement act_once_statement = {
	"act_once",
	"SELECT outcome, detail, reply, topic, seq, clients, " ACT_SIZE
	" FROM tidings.act_once($1::text, $2::text, $3::text, "
	"$4::text, $5::json, $6::text, $7::int8, $8::int8, $11::text, encode(sha256($12::bytea), 'hex'), "
	"$9::boolean, $10::int8)",
};

static const struct db_statement user_active_statement = {
	"user_active",
	"SELECT (tidings.user_active(array[$1::text]))[1]",
};

static const struct {
	const char *text;
	enum err e;
} outcomes[] = {
	{"ok", OK},
	{"forbidden", ERR_FORBIDDEN},
	{"not_found", ERR_NOT_FOUND},
	{"invalid", ERR_INPUT},
	{"key_reused", ERR_CONFLICT},
	{"over_quota", ERR_LIMIT},
};

enum err act_outcome(const char *text)
{
	for (size_t i = 0; text && i < ARRAY_LEN(outcomes); i++)
		if (strcmp(text, outcomes[i].text) == 0)
			return outcomes[i].e;
	return ERR_DATABASE;
}

const char *act_outcome_text(enum err outcome)
{
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
		if (outcome == outcomes[i].e)
			return outcomes[i].text;
	return "failed";
}

int64_t act_cost(int64_t size)
{
	return (MAX(size, 1) - 1) * RATE_ONE / PER_REQUEST;
}

void act_result_free(struct act_result *result)
{
	buf_free(&result->detail);
	buf_free(&result->reply);
}

static void add_value(struct buf *out, const PGresult *rows, int column)
{
	buf_add(out, PQgetvalue(rows, 0, column), (size_t)PQgetlength(rows, 0, column));
}

static enum err read_result(const PGresult *rows, struct act_result *result)
{
	enum err outcome = PQntuples(rows) == 1 ? act_outcome(PQgetvalue(rows, 0, OUTCOME)) : ERR_DATABASE;

	if (outcome == ERR_DATABASE || (outcome == OK && PQgetlength(rows, 0, REPLY) == 0)) {
		log_error("act answered what was not asked rows=%d", PQntuples(rows));
		return ERR_DATABASE;
	}
	result->outcome = outcome;
	add_value(&result->detail, rows, DETAIL);
	add_value(&result->reply, rows, REPLY);
	snprintf(result->topic, sizeof(result->topic), "%s", PQgetvalue(rows, 0, TOPIC));
	result->seq = strtoll(PQgetvalue(rows, 0, SEQ), NULL, 10);
	result->clients = strtoll(PQgetvalue(rows, 0, CLIENTS), NULL, 10);
	result->size = strtoll(PQgetvalue(rows, 0, SIZE), NULL, 10);
	return buf_ok(&result->detail) && buf_ok(&result->reply) ? OK : ERR_UNKNOWN;
}

enum err act_run(struct db *db, const struct act *act, const char *key, struct span fingerprint,
		 struct act_result *result)
{
	char queue_max[24];
	char queue_min_age[24];
	char daily_max[24];
	const char *values[ONCE_PARAMETERS_COUNT] = {
		[USER] = act->user_id,
		[ROLE] = act->role,
		[CONNECTION] = act->connection_id,
		[TYPE] = act->type,
		[DATA] = act->data,
		[CORRELATION] = act->correlation,
		[QUEUE_MAX] = queue_max,
		[QUEUE_MIN_AGE] = queue_min_age,
		[REQUIRE_USER] = act->require_user ? "true" : "false",
		[DAILY_MAX] = daily_max,
		[KEY] = key,
		[FINGERPRINT] = fingerprint.bytes,
	};
	const int lengths[ONCE_PARAMETERS_COUNT] = {[FINGERPRINT] = (int)fingerprint.len};
	const int formats[ONCE_PARAMETERS_COUNT] = {[FINGERPRINT] = 1};
	PGresult *rows = NULL;
	enum err e = db_ensure(db);

	if (e != OK)
		return e;
	snprintf(queue_max, sizeof(queue_max), "%" PRId64, act->queue_max);
	snprintf(queue_min_age, sizeof(queue_min_age), "%" PRId64, act->queue_min_age_s);
	snprintf(daily_max, sizeof(daily_max), "%" PRId64, act->daily_max_kib);
	e = db_change(db, key ? &act_once_statement : &act_statement, key ? ONCE_PARAMETERS_COUNT : PARAMETERS_COUNT,
		      values, lengths, formats, &rows);
	if (e == OK)
		e = read_result(rows, result);
	PQclear(rows);
	return e;
}

enum err act_user_active(struct db *db, const char *user_id, bool *active)
{
	PGresult *rows = NULL;
	enum err e = db_ensure(db);

	if (e == OK)
		e = db_query(db, &user_active_statement, 1, &user_id, NULL, NULL, &rows);
	if (e == OK && PQntuples(rows) != 1)
		e = ERR_DATABASE;
	if (e == OK)
		*active = PQgetvalue(rows, 0, 0)[0] == 't';
	PQclear(rows);
	return e;
}
