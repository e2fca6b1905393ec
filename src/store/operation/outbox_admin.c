#include "store/operation/outbox_admin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/blocking/db_internal.h"
#include "store/wire/pgarray.h"

static const struct statement list_statement = {"outbox_list", "SELECT tidings.outbox_list($1::boolean, $2::int8)"};

static const struct statement order_statements[] = {
	[OUTBOX_RETRY] = {"outbox_retry", "SELECT tidings.outbox_retry($1::text[])"},
	[OUTBOX_DROP] = {"outbox_drop", "SELECT tidings.outbox_drop($1::text[])"},
};

enum err outbox_admin_list(struct db *db, bool failed, int64_t limit, struct buf *json)
{
	char number[24];
	const char *const values[] = {failed ? "t" : "f", number};
	PGresult *result = NULL;
	enum err e = db_ensure(db);

	snprintf(number, sizeof(number), "%" PRId64, limit);
	if (e == OK)
		e = db_query(db, &list_statement, ARRAY_LEN(values), values, NULL, NULL, &result);
	if (e == OK)
		buf_add(json, PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
	PQclear(result);
	return e == OK && !buf_ok(json) ? ERR_MEMORY : e;
}

enum err outbox_admin_order(struct db *db, enum outbox_order order, const char *const *ids, size_t count, int64_t *done)
{
	struct pgarray array = {0};
	PGresult *result = NULL;
	enum err e = db_ensure(db);

	pgarray_begin(&array, PGARRAY_TEXT);
	for (size_t i = 0; i < count; i++)
		pgarray_add_text(&array, ids[i]);
	if (e == OK && !buf_ok(&array.bytes))
		e = ERR_MEMORY;
	if (e == OK) {
		const char *const values[] = {ids ? array.bytes.bytes : NULL};
		const int lengths[] = {(int)array.bytes.len};
		const int formats[] = {1};

		e = db_change(db, &order_statements[order], 1, values, lengths, formats, &result);
	}
	if (e == OK)
		*done = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	pgarray_free(&array);
	return e;
}
