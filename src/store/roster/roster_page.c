#include "store/roster/roster_page.h"

#include <inttypes.h>
#include <stdio.h>

#include "store/blocking/db_internal.h"
#include "store/wire/act.h"

static const struct statement roster_page_statement = {
	"roster_page",
	"SELECT outcome, page FROM tidings.roster_page($1::text, $2::text, $3::text, $4::text, $5::int8, $6::int8, "
	"$7::boolean)",
};

enum { OUTCOME, PAGE };

enum err roster_page_read(struct db *db, const struct roster_question *q, struct buf *json)
{
	char limit[24], grace_ms[24];
	const char *const values[] = {
		q->user_id, q->role, q->topic, q->after, limit, grace_ms, q->require_user ? "true" : "false",
	};
	PGresult *result = NULL;
	enum err e = db_ensure(db);

	snprintf(limit, sizeof(limit), "%" PRId64, q->limit);
	snprintf(grace_ms, sizeof(grace_ms), "%" PRId64, q->grace_ms);
	if (e == OK)
		e = db_query(db, &roster_page_statement, ARRAY_LEN(values), values, NULL, NULL, &result);
	if (e == OK)
		e = PQntuples(result) == 1 ? act_outcome(PQgetvalue(result, 0, OUTCOME)) : ERR_DATABASE;
	if (e == OK)
		buf_add(json, PQgetvalue(result, 0, PAGE), (size_t)PQgetlength(result, 0, PAGE));
	PQclear(result);
	return e == OK && !buf_ok(json) ? ERR_MEMORY : e;
}
