#include "store/request/connection_admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "store/blocking/db_internal.h"
#include "store/wire/act.h"

#define ASK_AGAIN_MS 50

static const struct statement ask_statement = {"ask_report", "SELECT tidings.ask_report($1::text)"};

static const struct statement health_statement = {
	"connection_health",
	"SELECT outcome, health, fresh FROM tidings.connection_health($1::text, $2::text, $3::text, $4::text)",
};

static const struct statement disconnect_statement = {
	"disconnect",
	"SELECT tidings.disconnect($1::text, $2::text, $3::text)",
};

static const struct statement reconnect_statement = {
	"reconnect_user",
	"SELECT outcome, connections FROM tidings.reconnect_user($1::text, $2::text, $3::text)",
};

/* Of a statement that answers with one row, an outcome in its first column. */
static enum err ask(struct db *db, db_run_statement *run, const struct statement *s, const char *const *values,
		    int count, PGresult **rows)
{
	enum err e = db_ensure(db);

	if (e == OK)
		e = run(db, s, count, values, NULL, NULL, rows);
	if (e == OK)
		e = PQntuples(*rows) == 1 ? act_outcome(PQgetvalue(*rows, 0, 0)) : ERR_DATABASE;
	if (e != OK) {
		PQclear(*rows);
		*rows = NULL;
	}
	return e;
}

static enum err tell(struct db *db, const struct statement *s, const struct admin_request *r, PGresult **rows)
{
	const char *values[] = {r->user_id, r->role, r->subject};

	return ask(db, db_change, s, values, ARRAY_LEN(values), rows);
}

/* False: the time is over. */
static bool wait_a_little(int64_t deadline_ms)
{
	struct timespec t = {.tv_nsec = ASK_AGAIN_MS * 1000000};

	if (clock_monotonic_ms() >= deadline_ms)
		return false;
	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
	return true;
}

/*
 *	asked	of ask_report(); NULL: whatever is known
 */
static enum err read_health(struct db *db, const struct admin_request *r, const char *asked, struct buf *health,
			    bool *fresh)
{
	const char *values[] = {r->user_id, r->role, r->subject, asked};
	PGresult *rows = NULL;
	enum err e = ask(db, db_query, &health_statement, values, ARRAY_LEN(values), &rows);

	if (e != OK)
		return e;
	buf_clear(health);
	buf_add(health, PQgetvalue(rows, 0, 1), (size_t)PQgetlength(rows, 0, 1));
	*fresh = PQgetvalue(rows, 0, 2)[0] == 't';
	PQclear(rows);
	return buf_ok(health) ? OK : ERR_MEMORY;
}

static enum err ask_for_report(struct db *db, const struct admin_request *r, char *asked, size_t size)
{
	const char *values[] = {r->subject};
	PGresult *rows = NULL;
	enum err e = db_query(db, &ask_statement, 1, values, NULL, NULL, &rows);

	if (e == OK && (PQntuples(rows) != 1 || (size_t)PQgetlength(rows, 0, 0) >= size))
		e = ERR_DATABASE;
	if (e == OK)
		memcpy(asked, PQgetvalue(rows, 0, 0), (size_t)PQgetlength(rows, 0, 0) + 1);
	PQclear(rows);
	return e;
}

enum err connection_admin_health(struct db *db, const struct admin_request *r, int64_t wait_ms, struct buf *health)
{
	int64_t deadline_ms = clock_monotonic_ms() + wait_ms;
	char asked[64];
	bool fresh = false;
	enum err e = read_health(db, r, NULL, health, &fresh);

	if (e == OK)
		e = ask_for_report(db, r, asked, sizeof(asked));
	while (e == OK && !fresh) {
		if (!wait_a_little(deadline_ms))
			break;
		e = read_health(db, r, asked, health, &fresh);
	}
	return e;
}

enum err connection_admin_disconnect(struct db *db, const struct admin_request *r, int64_t wait_ms, bool *gone)
{
	int64_t deadline_ms = clock_monotonic_ms() + wait_ms;
	struct buf health = BUF_EMPTY;
	PGresult *rows = NULL;
	bool fresh = false;
	enum err e = tell(db, &disconnect_statement, r, &rows);

	PQclear(rows);
	*gone = false;
	if (e != OK)
		return e;
	do
		e = read_health(db, r, NULL, &health, &fresh);
	while (e == OK && wait_a_little(deadline_ms));
	buf_free(&health);
	*gone = e == ERR_NOT_FOUND;
	if (e == ERR_AWAY)
		return ERR_UNKNOWN; /* its node has been told */
	return *gone ? OK : e;
}

enum err connection_admin_reconnect(struct db *db, const struct admin_request *r, int64_t *connections)
{
	PGresult *rows = NULL;
	enum err e = tell(db, &reconnect_statement, r, &rows);

	if (e != OK)
		return e;
	*connections = strtoll(PQgetvalue(rows, 0, 1), NULL, 10);
	PQclear(rows);
	return OK;
}
