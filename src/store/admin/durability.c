#include "store/admin/durability.h"

#include "store/blocking/db_internal.h"

static const struct statement wrong_statement = {
	"durability",
	"SELECT string_agg(format('%s is %s, and has to be %s', name, current_setting(name), fit), '; ') "
	"FROM (VALUES ('fsync', 'on'), ('full_page_writes', 'on'), ('server_encoding', 'UTF8')) AS s(name, fit) "
	"WHERE current_setting(name) <> fit",
};

enum err durability_check(struct db *db, struct buf *problem)
{
	PGresult *result = NULL;
	enum err e = db_query(db, &wrong_statement, 0, NULL, NULL, NULL, &result);

	if (e != OK) {
		buf_add_text(problem, db_problem(db));
		return e;
	}
	if (!PQgetisnull(result, 0, 0)) {
		buf_add_text(problem, PQgetvalue(result, 0, 0));
		e = ERR_CONFIG;
	}
	PQclear(result);
	return e;
}
