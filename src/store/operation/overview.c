#include "store/operation/overview.h"

#include <inttypes.h>
#include <stdio.h>

#include "store/blocking/db_internal.h"

static const struct statement totals_statement = {
	"overview_totals",
	"SELECT json_build_object('outbox', json_build_object('messages', o.messages, 'oldest_s', round(o.oldest_s), "
	"'failed', o.failed))::jsonb || s::jsonb FROM tidings.status() AS s, tidings.outbox_state() AS o",
};

static const struct statement topics_statement = {"overview_topics", "SELECT tidings.topics($1::text, $2::int8)"};

static const struct statement connections_statement = {
	"overview_connections",
	"SELECT connections FROM tidings.connections($1::text, $2::text, $3::int8)",
};

/* Of a statement whose answer is one JSON text. */
static enum err read_json(struct db *db, const struct statement *s, int count, const char *const *values,
			  struct buf *json)
{
	PGresult *result = NULL;
	enum err e = db_ensure(db);

	if (e == OK)
		e = db_query(db, s, count, values, NULL, NULL, &result);
	if (e == OK && PQntuples(result) != 1)
		e = ERR_DATABASE;
	if (e == OK)
		buf_add(json, PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
	PQclear(result);
	return e == OK && !buf_ok(json) ? ERR_MEMORY : e;
}

enum err overview_totals(struct db *db, struct buf *json)
{
	return read_json(db, &totals_statement, 0, NULL, json);
}

enum err overview_topics(struct db *db, const char *by, int64_t limit, struct buf *json)
{
	char number[24];
	const char *const values[] = {by, number};

	snprintf(number, sizeof(number), "%" PRId64, limit);
	return read_json(db, &topics_statement, ARRAY_LEN(values), values, json);
}

enum err overview_connections(struct db *db, const char *user, const char *topic, int64_t limit, struct buf *json)
{
	char number[24];
	const char *const values[] = {user, topic, number};

	snprintf(number, sizeof(number), "%" PRId64, limit);
	return read_json(db, &connections_statement, ARRAY_LEN(values), values, json);
}
