#include "store/request/account.h"

#include "store/blocking/db_internal.h"
#include "store/wire/pgarray.h"
#include "store/wire/statement.h"

static const struct statement withdrawn_statement = {"withdrawn_users", SQL_WITHDRAWN_USERS};

enum err account_is_active(struct db *db, const char *user_id, bool *active)
{
	struct pgarray users = {0};
	PGresult *rows = NULL;
	enum err e = db_ensure(db);

	pgarray_begin(&users, PGARRAY_TEXT);
	pgarray_add_text(&users, user_id);
	if (e == OK && !buf_ok(&users.bytes))
		e = ERR_MEMORY;
	if (e == OK)
		e = db_query(db, &withdrawn_statement, 1, (const char *const[]){users.bytes.bytes},
			     (const int[]){(int)users.bytes.len}, (const int[]){1}, &rows);
	if (e == OK)
		*active = PQntuples(rows) == 0;
	PQclear(rows);
	pgarray_free(&users);
	return e;
}
