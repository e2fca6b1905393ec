#include "store/request/device_admin.h"

#include "store/blocking/db_internal.h"

static const struct statement list_statement = {"devices", "SELECT tidings.devices($1::text)"};

static const struct statement forget_statement = {"forget_device", "SELECT tidings.forget_device($1::text, $2::text)"};

enum err device_admin_list(struct db *db, const char *user_id, struct buf *json)
{
	PGresult *result = NULL;
	enum err e = db_ensure(db);

	if (e == OK)
		e = db_query(db, &list_statement, 1, (const char *const[]){user_id}, NULL, NULL, &result);
	if (e == OK)
		buf_add(json, PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
	PQclear(result);
	return e == OK && !buf_ok(json) ? ERR_MEMORY : e;
}

enum err device_admin_forget(struct db *db, const char *user_id, const char *name, bool *found)
{
	PGresult *result = NULL;
	enum err e = db_ensure(db);

	if (e == OK)
		e = db_change(db, &forget_statement, 2, (const char *const[]){user_id, name}, NULL, NULL, &result);
	if (e == OK)
		*found = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return e;
}
