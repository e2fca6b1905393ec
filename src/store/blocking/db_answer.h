/*
 * db_answer - the answer to what was sent on a blocking connection: waited for, not without end, and judged.
 *
 * What comes instead of an answer is told apart here: a connection that broke, a server that hangs (the connection is
 * given up, and the next attempt begins with the next host), an error, a commit that no standby has.
 *
 * Layer    store: for db.c only, which has the statements.
 * Threads  one at a time.
 */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/log/log.h"
#include "store/wire/conninfo.h"
#include "store/wire/hosts.h"
#include "store/wire/statement.h"

#define DB_STATEMENTS_MAX 32

struct db {
	struct hosts *hosts;				     /* owned, with those that are like it */
	struct conninfo *conninfo;			     /* owned */
	const char *application_name;			     /* borrowed */
	size_t host;					     /* that it is connected to */
	uint64_t left;					     /* hosts_left() before that */
	int64_t deadline_ms;				     /* of the answer that is awaited; 0: none */
	size_t attempt;					     /* of db_reopen(), which tells of them together; 0: none */
	bool hurried;					     /* its deadline was brought near */
	int64_t timeout_ms;				     /* of an answer */
	int64_t statement_ms;				     /* of a statement, and of a lock, at the server */
	PGconn *conn;					     /* NULL: not open */
	const struct statement *prepared[DB_STATEMENTS_MAX]; /* on this connection */
	size_t prepared_count;
	bool pooled;	    /* the connection is to a pooler: in pipeline mode */
	bool unreplicated;  /* what was committed last may be on this server alone */
	struct buf problem; /* of the last error */
};

/*
 * What was sent by PQsend…() is on its way: the last result, or the first error of it.
 *
 * A statement's CommandComplete comes before its commit: a connection that ends between them says nothing of that.
 *
 *	name	of the statement, for the log
 *	wait_ms	0: without end
 *	result	out: taken, PQclear() it; set only when OK
 *
 * ERR_AWAY      the connection is lost: it was not all sent; or refused, and another try may succeed
 * ERR_UNKNOWN   it may or may not have been committed, or not for good
 * ERR_BUSY, ERR_DATABASE	refused
 */
enum err db_answer_receive(struct db *db, const char *name, int64_t wait_ms, PGresult **result) MUST_CHECK;

/* The connection broke, or did not answer in time: ends it. ERR_AWAY.  message: NULL: libpq's */
enum err db_answer_lost(struct db *db, const char *name, const char *message);

void db_answer_disconnect(struct db *db);

/* Keeps what db_problem() says. libpq's own messages end with a line break, and have some inside. */
void db_answer_set_problem(struct db *db, const char *sqlstate, const char *message);
void db_answer_log_problem(const struct db *db, enum log_level level, const char *what, const char *name);
const char *db_answer_problem(const struct db *db);

/* For PQsetNoticeReceiver(); context is the struct db. */
void db_answer_take_notice(void *context, const PGresult *notice);
