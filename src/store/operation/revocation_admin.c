#include "store/operation/revocation_admin.h"

#include "store/blocking/db_internal.h"

static const struct statement revoke_statement = {"revoke", "SELECT tidings.revoke($1::text, $2::text)"};

enum err revocation_admin_revoke(struct db *db, const char *user, const char *topic)
{
	const char *const values[] = {user, topic};
	PGresult *result = NULL;
	enum err e = db_ensure(db);

	if (e == OK)
		e = db_change(db, &revoke_statement, ARRAY_LEN(values), values, NULL, NULL, &result);
	PQclear(result);
	return e;
}
