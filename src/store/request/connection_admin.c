#include "store/request/connection_admin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "store/blocking/db_internal.h"
#include "store/wire/act.h"

#define ASK_AGAIN_MS 50

static const struct statement ask_statement = {"ask_report", "SELECT tidings.ask_reports(ARRAY[$1::text])"};

static const struct statement ask_all_statement = {"ask_reports", "SELECT tidings.ask_reports($1::text[])"};

static const struct statement ask_slow_statement = {"ask_slow", "SELECT tidings.ask_slow()"};

static const struct statement list_statement = {
	"connections_page",
	"SELECT connections, ids, next, fresh FROM tidings.connections($1::text, $2::text, $3::int8, $4::text, "
	"$5::text, $6::boolean)",
};

static const struct statement drain_statement = {
	"drain",
	"SELECT outcome, connections, draining FROM tidings.drain($1::text, $2::text, $3::boolean)",
};

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

/* Of a statement that asks nodes to report, with one parameter or none. */
static enum err ask_for_report(struct db *db, const struct statement *s, const char *subject, char *asked, size_t size)
{
	PGresult *rows = NULL;
	enum err e = db_query(db, s, subject ? 1 : 0, &subject, NULL, NULL, &rows);

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
		e = ask_for_report(db, &ask_statement, r->subject, asked, sizeof(asked));
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

/*
 *	asked	since when nodes are to have told; NULL: they were not asked yet
 *	rows	out: the one row
 */
static enum err read_page(struct db *db, const struct connections_question *q, const char *asked, PGresult **rows)
{
	char limit[24];
	const char *values[] = {q->user, q->topic, limit, q->after, asked, q->slow ? "t" : "f"};
	enum err e = db_ensure(db);

	PQclear(*rows);
	*rows = NULL;
	snprintf(limit, sizeof(limit), "%" PRId64, q->limit);
	if (e == OK)
		e = db_query(db, &list_statement, ARRAY_LEN(values), values, NULL, NULL, rows);
	return e == OK && PQntuples(*rows) != 1 ? ERR_DATABASE : e;
}

enum { PAGE_CONNECTIONS, PAGE_IDS, PAGE_NEXT, PAGE_FRESH };

static void add_page(struct buf *json, const PGresult *rows)
{
	buf_add_text(json, "{\"connections\":");
	buf_add(json, PQgetvalue(rows, 0, PAGE_CONNECTIONS), (size_t)PQgetlength(rows, 0, PAGE_CONNECTIONS));
	if (PQgetisnull(rows, 0, PAGE_NEXT))
		buf_add_text(json, ",\"next\":null}");
	else
		buf_printf(json, ",\"next\":\"%s\"}", PQgetvalue(rows, 0, PAGE_NEXT));
}

enum err connection_admin_list(struct db *db, const struct connections_question *q, int64_t wait_ms, struct buf *json)
{
	int64_t deadline_ms = clock_monotonic_ms() + wait_ms;
	PGresult *rows = NULL;
	char asked[64];
	enum err e = db_ensure(db);
	bool asks = e == OK && q->slow;

	if (e == OK && !q->slow) {
		e = read_page(db, q, NULL, &rows);
		asks = e == OK && !PQgetisnull(rows, 0, PAGE_IDS);
	}
	if (asks)
		e = q->slow ? ask_for_report(db, &ask_slow_statement, NULL, asked, sizeof(asked))
			    : ask_for_report(db, &ask_all_statement, PQgetvalue(rows, 0, PAGE_IDS), asked,
					     sizeof(asked));
	if (asks && e == OK)
		do
			e = read_page(db, q, asked, &rows);
		while (e == OK && PQgetvalue(rows, 0, PAGE_FRESH)[0] != 't' && wait_a_little(deadline_ms));
	if (e == OK)
		add_page(json, rows);
	PQclear(rows);
	return e == OK && !buf_ok(json) ? ERR_MEMORY : e;
}

enum err connection_admin_drain(struct db *db, const struct admin_request *r, int64_t wait_ms, int64_t *connections,
				bool *draining)
{
	int64_t deadline_ms = clock_monotonic_ms() + wait_ms;
	const char *values[] = {r->role, r->subject, "t"};
	enum err e = OK;

	*draining = false;
	do {
		PGresult *rows = NULL;

		e = ask(db, db_change, &drain_statement, values, ARRAY_LEN(values), &rows);
		if (e != OK)
			break;
		*connections = strtoll(PQgetvalue(rows, 0, 1), NULL, 10);
		*draining = PQgetvalue(rows, 0, 2)[0] == 't';
		PQclear(rows);
		values[2] = "f";
	} while (!*draining && wait_a_little(deadline_ms));
	return e;
}
