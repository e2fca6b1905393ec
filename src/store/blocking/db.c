#include "store/blocking/db.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/blocking/db_answer.h"
#include "store/blocking/db_internal.h"
#include "store/wire/session_setup.h"

#define GRACE_MS 1000 /* the server's own statement_timeout should come first */

const char *db_problem(const struct db *db)
{
	return db_answer_problem(db);
}

const char *db_user(const struct db *db)
{
	return PQuser(db->conn);
}

/* How long the answer to a statement is waited for; 0: without end. */
static int64_t answer_ms(const struct db *db)
{
	return db->timeout_ms ? db->timeout_ms + GRACE_MS : 0;
}

static enum err prepare(struct db *db, const struct statement *s)
{
	PGresult *r = NULL;
	enum err e = OK;

	for (size_t i = 0; i < db->prepared_count; i++)
		if (db->prepared[i] == s)
			return OK;
	assert(db->prepared_count < DB_STATEMENTS_MAX);
	if (!PQsendPrepare(db->conn, s->name, s->sql, 0, NULL))
		return db_answer_lost(db, s->name, NULL);
	e = db_answer_receive(db, s->name, answer_ms(db), &r);
	if (e != OK)
		return e == ERR_UNKNOWN ? ERR_AWAY : e;
	PQclear(r);
	db->prepared[db->prepared_count++] = s;
	return OK;
}

enum err db_change(struct db *db, const struct statement *s, int count, const char *const *values, const int *lengths,
		   const int *formats, PGresult **result)
{
	enum err e = OK;

	*result = NULL;
	if (!db_is_open(db))
		return ERR_AWAY;
	if (db->pooled) {
		if (!session_setup_send_for_transaction(db->conn, db->statement_ms) ||
		    !PQsendQueryParams(db->conn, s->sql, count, NULL, values, lengths, formats, 0) ||
		    !PQpipelineSync(db->conn))
			return db_answer_lost(db, s->name, NULL);
	} else {
		e = prepare(db, s);
		if (e != OK)
			return e;
		if (!PQsendQueryPrepared(db->conn, s->name, count, values, lengths, formats, 0))
			return db_answer_lost(db, s->name, NULL);
	}
	return db_answer_receive(db, s->name, answer_ms(db), result);
}

enum err db_query(struct db *db, const struct statement *s, int count, const char *const *values, const int *lengths,
		  const int *formats, PGresult **result)
{
	enum err e = db_change(db, s, count, values, lengths, formats, result);

	return e == ERR_UNKNOWN ? ERR_AWAY : e;
}

enum err db_run(struct db *db, const char *name, const char *sql)
{
	PGresult *r = NULL;
	enum err e = OK;

	if (!db_is_open(db))
		return ERR_AWAY;
	if (!PQsendQuery(db->conn, sql))
		return db_answer_lost(db, name, NULL);
	e = db_answer_receive(db, name, answer_ms(db), &r);
	PQclear(r);
	return e == ERR_UNKNOWN ? ERR_AWAY : e;
}

enum err db_limit(struct db *db, int64_t statement_ms)
{
	static const struct statement limit = {
		"limit",
		"SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $1, false)",
	};
	char text[24];
	const char *const values[] = {text};
	PGresult *r = NULL;
	enum err e = OK;

	if (db->statement_ms == statement_ms)
		return OK;
	if (db_is_open(db) && !db->pooled) {
		snprintf(text, sizeof(text), "%" PRId64, statement_ms);
		e = db_query(db, &limit, ARRAY_LEN(values), values, NULL, NULL, &r);
		PQclear(r);
	}
	if (e == OK)
		db->statement_ms = statement_ms;
	return e;
}

bool db_in_transaction(const struct db *db)
{
	return db->conn && PQtransactionStatus(db->conn) == PQTRANS_INTRANS;
}

bool db_is_open(const struct db *db)
{
	return db->conn && PQstatus(db->conn) == CONNECTION_OK;
}

bool db_is_pooled(const struct db *db)
{
	return db->pooled;
}

static enum err set_up(struct db *db)
{
	static const char name[] = "session_setup";
	PGresult *answer = NULL;
	const char *why = NULL;
	bool pooled = false;
	enum err e = OK;

	if (!session_setup_send(db->conn, db->statement_ms))
		return db_answer_lost(db, name, NULL);
	e = db_answer_receive(db, name, hosts_connect_ms(db->hosts), &answer);
	if (e == OK && (!session_setup_read(answer, &pooled, &why) || (pooled && !PQenterPipelineMode(db->conn))))
		e = db_answer_lost(db, name, why ? why : "no pipeline mode");
	PQclear(answer);
	db->pooled = pooled;
	if (e != OK && db->conn)
		db_answer_disconnect(db);
	return e == OK ? OK : ERR_AWAY;
}

static enum err connect_to(struct db *db, size_t host)
{
	db->host = host;
	db->left = hosts_left(db->hosts);
	conninfo_set_host(db->conninfo, host, NULL);
	db->conn = PQconnectdbParams(db->conninfo->keywords, db->conninfo->values, 1);
	if (!db->conn)
		return ERR_MEMORY;
	if (PQstatus(db->conn) != CONNECTION_OK || PQsetnonblocking(db->conn, 1) != 0) {
		db_answer_set_problem(db, NULL, PQerrorMessage(db->conn));
		db_answer_log_problem(db, LOG_ERROR_, "database host cannot be reached", "connect");
		db_answer_disconnect(db);
		return ERR_AWAY;
	}
	PQsetNoticeReceiver(db->conn, db_answer_take_notice, db);
	return set_up(db);
}

enum err db_reopen(struct db *db)
{
	enum err e = ERR_AWAY;

	db_answer_disconnect(db);
	for (db->attempt = 1; e == ERR_AWAY && db->attempt <= hosts_count(db->hosts); db->attempt++) {
		size_t host = hosts_first(db->hosts);

		e = connect_to(db, host);
		if (e != OK)
			hosts_pass(db->hosts, host);
	}
	db->attempt = 0;
	/* An outage is one line, whoever tries to connect meanwhile. */
	if (e == ERR_AWAY && hosts_set_away(db->hosts, true))
		db_answer_log_problem(db, LOG_ERROR_, "database cannot be reached", "connect");
	else if (e == OK && hosts_set_away(db->hosts, false))
		log_notice("the database is back");
	return e;
}

enum err db_ensure(struct db *db)
{
	struct pollfd p = {.events = POLLIN};

	/* Nothing is asked, so whatever there is to read is bad news: a last message of the server, then the end. */
	while (db_is_open(db) && hosts_left(db->hosts) == db->left) {
		p.fd = PQsocket(db->conn);
		if (poll(&p, 1, 0) <= 0)
			return OK;
		if (!PQconsumeInput(db->conn) || PQstatus(db->conn) != CONNECTION_OK)
			break;
		(void)PQisBusy(db->conn); /* takes in notices */
	}
	return db_reopen(db);
}

/* Whether one of those that have come has this payload. They are dropped. */
static bool take_notification(struct db *db, const char *payload)
{
	bool found = false;
	PGnotify *n = NULL;

	while (!found && (n = PQnotifies(db->conn))) {
		found = strcmp(n->extra, payload) == 0;
		PQfreemem(n);
	}
	session_setup_drop_notifications(db->conn);
	return found;
}

enum err db_wait_notification(struct db *db, const char *payload, int64_t wait_ms)
{
	int64_t until_ms = clock_monotonic_ms() + wait_ms;

	while (db_is_open(db)) {
		struct pollfd p = {.fd = PQsocket(db->conn), .events = POLLIN};
		int64_t left_ms = until_ms - clock_monotonic_ms();

		if (!PQconsumeInput(db->conn))
			return db_answer_lost(db, "listen", NULL);
		if (take_notification(db, payload))
			return OK;
		if (left_ms <= 0)
			return ERR_NOT_FOUND;
		(void)poll(&p, 1, (int)left_ms);
	}
	return ERR_AWAY;
}

static enum err new_of(struct db **out, struct hosts *hosts, const char *default_user, const char *application_name,
		       int64_t timeout_ms)
{
	struct db *db = calloc(1, sizeof(*db));
	enum err e = OK;

	*out = NULL;
	if (!db)
		return ERR_MEMORY;
	db->hosts = hosts_share(hosts);
	e = conninfo_new(&db->conninfo, hosts, default_user, application_name, timeout_ms);
	if (e != OK) {
		db_close(&db);
		return e;
	}
	db->application_name = application_name;
	db->timeout_ms = db->statement_ms = timeout_ms;
	*out = db;
	return OK;
}

enum err db_new(struct db **db, const char *conninfo, const char *default_user, const char *application_name,
		int64_t timeout_ms)
{
	struct hosts *hosts = NULL;
	enum err e = hosts_new(&hosts, conninfo);

	*db = NULL;
	if (e == OK)
		e = new_of(db, hosts, default_user, application_name, timeout_ms);
	hosts_free(&hosts);
	return e;
}

enum err db_new_like(struct db **db, const struct db *model)
{
	return new_of(db, model->hosts, model->conninfo->user, model->application_name, model->timeout_ms);
}

enum err db_open(struct db **db, const char *conninfo, const char *default_user, const char *application_name,
		 int64_t timeout_ms)
{
	enum err e = db_new(db, conninfo, default_user, application_name, timeout_ms);

	return e == OK ? db_reopen(*db) : e;
}

void db_close(struct db **out)
{
	struct db *db = *out;

	if (!db)
		return;
	db_answer_disconnect(db);
	conninfo_free(&db->conninfo);
	hosts_free(&db->hosts);
	buf_free(&db->problem);
	free(db);
	*out = NULL;
}
