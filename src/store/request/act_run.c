#include "store/request/act_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log/log.h"
#include "store/blocking/db_internal.h"

enum { KEY = ACT_PARAMS, FINGERPRINT, ONCE_PARAMS };

static const struct statement act_statement = {"act", ACT_SQL(ACT_CALL)};

static const struct statement act_once_statement = {
	"act_once",
	ACT_SQL("tidings.act_once($1::text, $2::text, $3::text, $4::text, $5::json, $6::text, $7::int8, $8::int8, "
		"$12::text, "
		"encode(sha256($13::bytea), 'hex'), $9::boolean, $10::int8, $11::text)"),
};

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
	enum err outcome = PQntuples(rows) == 1 ? act_outcome(PQgetvalue(rows, 0, ACT_OUTCOME)) : ERR_DATABASE;

	if (outcome == ERR_DATABASE || (outcome == OK && PQgetlength(rows, 0, ACT_REPLY) == 0)) {
		log_error("act answered what was not asked rows=%d", PQntuples(rows));
		return ERR_DATABASE;
	}
	result->outcome = outcome;
	add_value(&result->detail, rows, ACT_DETAIL);
	add_value(&result->reply, rows, ACT_REPLY);
	snprintf(result->topic, sizeof(result->topic), "%s", PQgetvalue(rows, 0, ACT_TOPIC));
	result->seq = strtoll(PQgetvalue(rows, 0, ACT_SEQ), NULL, 10);
	result->clients = strtoll(PQgetvalue(rows, 0, ACT_CLIENTS), NULL, 10);
	result->size = strtoll(PQgetvalue(rows, 0, ACT_SIZE), NULL, 10);
	return buf_ok(&result->detail) && buf_ok(&result->reply) ? OK : ERR_UNKNOWN;
}

enum err act_run(struct db *db, const struct act *act, const char *key, struct span fingerprint,
		 struct act_result *result)
{
	struct act_params params;
	const char *values[ONCE_PARAMS] = {[KEY] = key, [FINGERPRINT] = fingerprint.bytes};
	const int lengths[ONCE_PARAMS] = {[FINGERPRINT] = (int)fingerprint.len};
	const int formats[ONCE_PARAMS] = {[FINGERPRINT] = 1};
	PGresult *rows = NULL;
	enum err e = db_ensure(db);

	if (e != OK)
		return e;
	act_fill_params(act, &params);
	memcpy(values, params.values, sizeof(params.values));
	e = db_change(db, key ? &act_once_statement : &act_statement, key ? ONCE_PARAMS : ACT_PARAMS, values, lengths,
		      formats, &rows);
	if (e == OK)
		e = read_result(rows, result);
	PQclear(rows);
	return e;
}
