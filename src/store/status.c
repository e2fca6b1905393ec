#include "store/status.h"

#include <stdlib.h>

#include "store/db_internal.h"

static const struct db_statement status_statement = {"status", "SELECT tidings.status()"};
static const struct db_statement health_statement = {
	"health",
	"SELECT tidings.live_nodes(), o.stuck, json_build_object('messages', o.messages, 'oldest_s', "
	"round(o.oldest_s), 'failed', "
	"o.failed) FROM tidings.outbox_state() o",
};

enum { NODES, STUCK, OUTBOX };

/* Of a statement that answers with one row. */
static enum err read_row(struct db *db, const struct db_statement *s, PGresult **result)
{
	enum err e = db_ensure(db);

	if (e == OK)
		e = db_query(db, s, 0, NULL, NULL, NULL, result);
	if (e == OK && PQntuples(*result) != 1) {
		PQclear(*result);
		e = ERR_DATABASE;
	}
	return e;
}

enum err status_read(struct db *db, struct buf *out)
{
	PGresult *result = NULL;
	enum err e = read_row(db, &status_statement, &result);

	if (e != OK)
		return e;
	buf_add(out, PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
	PQclear(result);
	return OK;
}

enum err status_health(struct db *db, struct health *health)
{
	PGresult *result = NULL;
	enum err e = read_row(db, &health_statement, &result);

	if (e != OK)
		return e;
	health->nodes = strtoll(PQgetvalue(result, 0, NODES), NULL, 10);
	health->stuck = PQgetvalue(result, 0, STUCK)[0] == 't';
	buf_add(&health->outbox, PQgetvalue(result, 0, OUTBOX), (size_t)PQgetlength(result, 0, OUTBOX));
	PQclear(result);
	return OK;
}
