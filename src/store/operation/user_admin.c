#include "store/operation/user_admin.h"

#include <stdlib.h>

#include "store/blocking/db_internal.h"

static const struct statement forget_statement = {
	"forget",
	"SELECT json_agg(json_build_object('kind', f.kind, 'deleted', f.deleted, 'anonymised', f.anonymised)), "
	"sum(f.deleted + f.anonymised)::int8 FROM tidings.forget($1::text) AS f",
};

enum err user_admin_forget(struct db *db, const char *user, struct buf *json, int64_t *erased)
{
	PGresult *result = NULL;
	enum err e = db_change(db, &forget_statement, 1, &user, NULL, NULL, &result);

	if (e == OK) {
		buf_add(json, PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
		*erased = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	}
	PQclear(result);
	return e == OK && !buf_ok(json) ? ERR_MEMORY : e;
}
