#include "store/blocking/db_answer.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "store/wire/notice.h"
#include "store/wire/session_setup.h"
#include "store/wire/sqlstate.h"

#define LEFT_MS 1000 /* for an answer, once another connection has found the server to hang */
#define LOOK_MS 250  /* how often that is looked for */
#define QUOTED_SIZE 400

void db_answer_take_notice(void *context, const PGresult *notice)
{
	const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
	struct db *db = context;
	char quoted[QUOTED_SIZE];

	db->unreplicated = db->unreplicated || notice_is_unreplicated(notice);
	if (message)
		log_debug("database notice message=%s",
			  log_quote(quoted, sizeof(quoted), message, strcspn(message, "\n")));
}

void db_answer_disconnect(struct db *db)
{
	PQfinish(db->conn);
	db->conn = NULL;
	db->prepared_count = 0;
	db->pooled = false;
}

void db_answer_set_problem(struct db *db, const char *sqlstate, const char *message)
{
	size_t len = message ? strlen(message) : 0;

	while (len > 0 && message[len - 1] == '\n')
		len--;
	buf_clear(&db->problem);
	if (sqlstate && sqlstate[0])
		buf_printf(&db->problem, "%s: ", sqlstate);
	buf_add(&db->problem, message, len);
	for (size_t i = 0; i < db->problem.len; i++)
		if (strchr("\t\n", db->problem.bytes[i]))
			db->problem.bytes[i] = ' ';
}

const char *db_answer_problem(const struct db *db)
{
	return buf_ok(&db->problem) && db->problem.len > 0 ? db->problem.bytes : "unknown";
}

/* Attempts to connect are told together: db_reopen(). */
void db_answer_log_problem(const struct db *db, enum log_level level, const char *what, const char *name)
{
	const char *problem = db_answer_problem(db);
	char quoted_name[QUOTED_SIZE];
	char quoted[QUOTED_SIZE];

	if (db->attempt > 0)
		level = LOG_DEBUG_;
	log_write(level, "%s statement=%s error=%s", what,
		  log_quote(quoted_name, sizeof(quoted_name), name, strlen(name)),
		  log_quote(quoted, sizeof(quoted), problem, strlen(problem)));
}

enum err db_answer_lost(struct db *db, const char *name, const char *message)
{
	db_answer_set_problem(db, NULL, message ? message : PQerrorMessage(db->conn));
	db_answer_log_problem(db, LOG_ERROR_, "database connection lost", name);
	db_answer_disconnect(db);
	return ERR_AWAY;
}

/* The same, when all of the statement had been sent. */
static enum err lost_answer(struct db *db, const char *name, const char *message)
{
	(void)db_answer_lost(db, name, message);
	return ERR_UNKNOWN;
}

/* The server is of no use to anybody. */
static void leave_server(struct db *db)
{
	hosts_leave(db->hosts, db->host, db->left);
}

static enum err refused(struct db *db, const char *name, const PGresult *r)
{
	const char *sqlstate = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	enum err e = sqlstate_err(sqlstate);

	db_answer_set_problem(db, sqlstate, message ? message : PQresultErrorMessage(r));
	db_answer_log_problem(db, e == ERR_BUSY ? LOG_WARNING_ : LOG_ERROR_, "database error", name);
	if (sqlstate_leaves_server(sqlstate))
		leave_server(db);
	if (PQstatus(db->conn) != CONNECTION_OK || sqlstate_spoils_connection(sqlstate))
		db_answer_disconnect(db);
	return e;
}

/* Until `events` or the deadline, which another connection's finding brings near. False: the deadline passed. */
static bool wait_for(struct db *db, short events)
{
	struct pollfd p = {.fd = PQsocket(db->conn), .events = events};

	for (;;) {
		int64_t now_ms = clock_monotonic_ms();
		int n = -1;

		if (db->deadline_ms != 0 && !db->hurried && hosts_left(db->hosts) != db->left) {
			db->hurried = true;
			db->deadline_ms = MIN(db->deadline_ms, now_ms + LEFT_MS);
		}
		if (db->deadline_ms != 0 && now_ms >= db->deadline_ms)
			return false;
		n = poll(&p, 1, db->deadline_ms == 0 ? -1 : (int)MIN(db->deadline_ms - now_ms, LOOK_MS));
		if (n > 0 || (n < 0 && errno != EINTR))
			return true;
	}
}

/* The server hangs. */
static enum err no_answer(struct db *db, const char *name, enum err e)
{
	leave_server(db);
	(void)db_answer_lost(db, name, "no answer in time");
	return e;
}

/* The connection stays as good as it was. */
static enum err unreplicated(struct db *db, const char *name)
{
	db_answer_set_problem(db, NULL, "the wait for a synchronous standby was cancelled");
	db_answer_log_problem(db, LOG_WARNING_, "database commit is not replicated", name);
	return ERR_UNKNOWN;
}

static bool succeeded(const PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);

	return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
}

/* Such a result comes again and again until the data is moved, which no statement of ours does. */
static bool is_copy(const PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);

	return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

enum err db_answer_receive(struct db *db, const char *name, int64_t wait_ms, PGresult **result)
{
	PGresult *kept = NULL;
	PGresult *r = NULL;
	bool completed = false; /* all but its commit */
	enum err e = OK;
	int flushed = 1;

	db->deadline_ms = wait_ms ? clock_monotonic_ms() + wait_ms : 0;
	db->hurried = false;
	db->unreplicated = false;
	/* A large statement goes out only while the server can also talk back to us. */
	while ((flushed = PQflush(db->conn)) > 0) {
		if (!wait_for(db, POLLIN | POLLOUT))
			return no_answer(db, name, ERR_AWAY);
		if (!PQconsumeInput(db->conn))
			return db_answer_lost(db, name, NULL);
	}
	if (flushed < 0)
		return db_answer_lost(db, name, NULL);
	for (;;) {
		while (PQisBusy(db->conn)) {
			if (!wait_for(db, POLLIN)) {
				PQclear(kept);
				return no_answer(db, name, ERR_UNKNOWN);
			}
			if (!PQconsumeInput(db->conn))
				break; /* PQgetResult() makes it a result, with what the server said last */
		}
		r = PQgetResult(db->conn);
		if (!r && db->pooled && PQstatus(db->conn) == CONNECTION_OK)
			continue; /* parts one statement's results from the next one's */
		if (!r)
			break;
		if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
			PQclear(r);
			break;
		}
		if (is_copy(r)) {
			PQclear(r);
			PQclear(kept);
			return db_answer_lost(db, name, "COPY is not for this");
		}
		if (sqlstate_is_missing(db->conn, r)) {
			PQclear(r);
			PQclear(kept);
			return lost_answer(db, name, "no memory for the answer");
		}
		if (kept && !succeeded(kept)) {
			PQclear(r);
			continue;
		}
		completed = kept != NULL;
		PQclear(kept);
		kept = r;
	}
	session_setup_drop_notifications(db->conn);
	if (!kept)
		return lost_answer(db, name, NULL);
	if (succeeded(kept) && db->unreplicated) {
		PQclear(kept);
		return unreplicated(db, name);
	}
	if (succeeded(kept)) {
		*result = kept;
		return OK;
	}
	e = refused(db, name, kept);
	if (e == ERR_AWAY && PQstatus(db->conn) != CONNECTION_OK &&
	    (completed || sqlstate_hides_outcome(PQresultErrorField(kept, PG_DIAG_SQLSTATE))))
		e = ERR_UNKNOWN;
	PQclear(kept);
	return e;
}
