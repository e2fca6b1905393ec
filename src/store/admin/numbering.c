#include "store/admin/numbering.h"

#include "store/blocking/db_internal.h"

enum err numbering_renew(struct db *db)
{
	static const struct statement statement = {"renew epochs", "SELECT tidings.renew_epochs()"};
	PGresult *result = NULL;
	enum err e = db_query(db, &statement, 0, NULL, NULL, NULL, &result);

	PQclear(result);
	return e;
}

enum err numbering_by_timeline(struct db *db, bool by_timeline)
{
	static const struct statement statement = {"epochs by timeline",
						   "UPDATE tidings.numbering SET by_timeline = $1::boolean"};
	const char *const values[] = {by_timeline ? "t" : "f"};
	PGresult *result = NULL;
	enum err e = db_query(db, &statement, ARRAY_LEN(values), values, NULL, NULL, &result);

	PQclear(result);
	return e;
}
