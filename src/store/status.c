#include "store/status.h"

#include <stdlib.h>

#include "store/db_internal.h"

static const struct db_statement status_statement = {"status", "SELECT tidings.status()"};
static const struct db_statement live_nodes_statement = {"live_nodes", "SELECT tidings.live_nodes()"};

/* Of a statement that answers with one value. */
static enum err read_value(struct db *db, const struct db_statement *s, PGresult **result)
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
	enum err e = read_value(db, &status_statement, &result);

	if (e != OK)
		return e;
	buf_add(out, PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
	PQclear(result);
	return OK;
}

enum err status_live_nodes(struct db *db, int64_t *nodes)
{
	PGresult *result = NULL;
	enum err e = read_value(db, &live_nodes_statement, &result);

	if (e != OK)
		return e;
	*nodes = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return OK;
}
