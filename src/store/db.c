#include "store/db.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/conninfo.h"
#include "store/db_internal.h"
#include "store/hello.h"
#include "store/hosts.h"
#include "store/notice.h"
#include "store/sqlstate.h"

#define STATEMENTS_MAX 16
#define GRACE_MS 1000 /* the server's own statement_timeout should come first */
#define LEFT_MS 1000  /* for an answer, once another connection has found the server to hang */
#define LOOK_MS 250   /* how often that is looked for */
#define QUOTED_SIZE 400

struct db {
	struct hosts *hosts;				     /* owned, with those that are like it */
	struct conninfo *conninfo;			     /* owned */
	const char *application_name;			     /* borrowed */
	size_t host;					     /* that it is connected to */
	uint64_t left;					     /* hosts_left() before that */
	int64_t deadline_ms;				     /* of the answer that is awaited; 0: none */
	bool hurried;					     /* its deadline was brought near */
	int64_t timeout_ms;				     /* of an answer */
	int64_t statement_ms;				     /* of a statement, and of a lock, at the server */
	PGconn *conn;					     /* NULL: not open */
	const struct db_statement *prepared[STATEMENTS_MAX]; /* on this connection */
	size_t prepared_count;
	bool pooled; /* the connection is to a pooler: in pipeline mode */
	bool reopening;
	bool unreplicated;  /* what was committed last may be on this server alone */
	struct buf problem; /* of the last error */
};

static void take_notice(void *arg, const PGresult *notice)
{
	const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
	struct db *db = arg;
	char quoted[QUOTED_SIZE];

	db->unreplicated = db->unreplicated || notice_is_unreplicated(notice);
	if (message)
		log_debug("database notice message=%s",
			  log_quote(quoted, sizeof(quoted), message, strcspn(message, "\n")));
}

static void disconnect(struct db *db)
{
	PQfinish(db->conn);
	db->conn = NULL;
	db->prepared_count = 0;
	db->pooled = false;
}

/* libpq's own messages end with a line break, and have some inside. */
static void set_problem(struct db *db, const char *sqlstate, const char *message)
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

const char *db_user(const struct db *db)
{
	return PQuser(db->conn);
}

const char *db_problem(const struct db *db)
{
	return buf_ok(&db->problem) && db->problem.len > 0 ? db->problem.bytes : "unknown";
}

/* Attempts to connect are told together: db_reopen(). */
static void log_problem(const struct db *db, enum log_level level, const char *what, const char *name)
{
	const char *problem = db_problem(db);
	char quoted_name[QUOTED_SIZE];
	char quoted[QUOTED_SIZE];

	if (db->reopening)
		level = LOG_DEBUG_;
	log_write(level, "%s statement=%s error=%s", what,
		  log_quote(quoted_name, sizeof(quoted_name), name, strlen(name)),
		  log_quote(quoted, sizeof(quoted), problem, strlen(problem)));
}

/* The connection broke, or did not answer in time. */
static enum err lost(struct db *db, const char *name, const char *message)
{
	set_problem(db, NULL, message ? message : PQerrorMessage(db->conn));
	log_problem(db, LOG_ERROR_, "database connection lost", name);
	disconnect(db);
	return ERR_AWAY;
}

/* The same, when all of the statement had been sent. */
static enum err lost_answer(struct db *db, const char *name, const char *message)
{
	(void)lost(db, name, message);
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

	set_problem(db, sqlstate, message ? message : PQresultErrorMessage(r));
	log_problem(db, e == ERR_BUSY ? LOG_WARNING_ : LOG_ERROR_, "database error", name);
	if (sqlstate_leaves_server(sqlstate))
		leave_server(db);
	if (PQstatus(db->conn) != CONNECTION_OK || sqlstate_spoils_connection(sqlstate))
		disconnect(db);
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
	(void)lost(db, name, "no answer in time");
	return e;
}

/* The connection stays as good as it was. */
static enum err unreplicated(struct db *db, const char *name)
{
	set_problem(db, NULL, "the wait for a synchronous standby was cancelled");
	log_problem(db, LOG_WARNING_, "database commit is not replicated", name);
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

/*
 * What was sent by PQsend…() is on its way: the last result, or the first error of it.
 *
 * A statement's CommandComplete comes before its commit: a connection that ends between them says nothing of that.
 */
static enum err receive(struct db *db, const char *name, int64_t wait_ms, PGresult **result)
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
			return lost(db, name, NULL);
	}
	if (flushed < 0)
		return lost(db, name, NULL);
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
			return lost(db, name, "COPY is not for this");
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
	hello_drop_notifications(db->conn);
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
	if (e == ERR_AWAY && !db_is_open(db) &&
	    (completed || sqlstate_hides_outcome(PQresultErrorField(kept, PG_DIAG_SQLSTATE))))
		e = ERR_UNKNOWN;
	PQclear(kept);
	return e;
}

/* How long the answer to a statement is waited for; 0: without end. */
static int64_t answer_ms(const struct db *db)
{
	return db->timeout_ms ? db->timeout_ms + GRACE_MS : 0;
}

static enum err prepare(struct db *db, const struct db_statement *s)
{
	PGresult *r = NULL;
	enum err e = OK;

	for (size_t i = 0; i < db->prepared_count; i++)
		if (db->prepared[i] == s)
			return OK;
	assert(db->prepared_count < STATEMENTS_MAX);
	if (!PQsendPrepare(db->conn, s->name, s->sql, 0, NULL))
		return lost(db, s->name, NULL);
	e = receive(db, s->name, answer_ms(db), &r);
	if (e != OK)
		return e == ERR_UNKNOWN ? ERR_AWAY : e;
	PQclear(r);
	db->prepared[db->prepared_count++] = s;
	return OK;
}

enum err db_change(struct db *db, const struct db_statement *s, int count, const char *const *values,
		   const int *lengths, const int *formats, PGresult **result)
{
	enum err e = OK;

	*result = NULL;
	if (!db_is_open(db))
		return ERR_AWAY;
	if (db->pooled) {
		if (!hello_send_setup(db->conn, db->statement_ms) ||
		    !PQsendQueryParams(db->conn, s->sql, count, NULL, values, lengths, formats, 0) ||
		    !PQpipelineSync(db->conn))
			return lost(db, s->name, NULL);
	} else {
		e = prepare(db, s);
		if (e != OK)
			return e;
		if (!PQsendQueryPrepared(db->conn, s->name, count, values, lengths, formats, 0))
			return lost(db, s->name, NULL);
	}
	return receive(db, s->name, answer_ms(db), result);
}

enum err db_query(struct db *db, const struct db_statement *s, int count, const char *const *values, const int *lengths,
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
		return lost(db, name, NULL);
	e = receive(db, name, answer_ms(db), &r);
	PQclear(r);
	return e == ERR_UNKNOWN ? ERR_AWAY : e;
}

enum err db_limit(struct db *db, int64_t statement_ms)
{
	static const struct db_statement limit = {
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

static enum err greet(struct db *db)
{
	static const char name[] = "hello";
	PGresult *answer = NULL;
	const char *why = NULL;
	bool pooled = false;
	enum err e = OK;

	if (!hello_send(db->conn, db->statement_ms))
		return lost(db, name, NULL);
	e = receive(db, name, hosts_connect_ms(db->hosts), &answer);
	if (e == OK && (!hello_read(answer, &pooled, &why) || (pooled && !PQenterPipelineMode(db->conn))))
		e = lost(db, name, why ? why : "no pipeline mode");
	PQclear(answer);
	db->pooled = pooled;
	if (e != OK && db->conn)
		disconnect(db);
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
		set_problem(db, NULL, PQerrorMessage(db->conn));
		log_problem(db, LOG_ERROR_, "database host cannot be reached", "connect");
		disconnect(db);
		return ERR_AWAY;
	}
	PQsetNoticeReceiver(db->conn, take_notice, db);
	return greet(db);
}

enum err db_reopen(struct db *db)
{
	enum err e = ERR_AWAY;

	disconnect(db);
	db->reopening = true;
	for (size_t tried = 0; e == ERR_AWAY && tried < hosts_count(db->hosts); tried++) {
		size_t host = hosts_first(db->hosts);

		e = connect_to(db, host);
		if (e != OK)
			hosts_pass(db->hosts, host);
	}
	db->reopening = false;
	/* An outage is one line, whoever tries to connect meanwhile. */
	if (e == ERR_AWAY && hosts_set_away(db->hosts, true))
		log_problem(db, LOG_ERROR_, "database cannot be reached", "connect");
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
	disconnect(db);
	conninfo_free(&db->conninfo);
	hosts_free(&db->hosts);
	buf_free(&db->problem);
	free(db);
	*out = NULL;
}
