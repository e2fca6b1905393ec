/*
 * db_internal - the calls of db that speak libpq's types.
 *
 * Layer    store: for files of this folder only.
 */
#pragma once

#include <libpq-fe.h>

#include "store/blocking/db.h"
#include "store/wire/statement.h"

typedef enum err db_run_statement(struct db *db, const struct statement *s, int count, const char *const *values,
				  const int *lengths, const int *formats, PGresult **result);

/*
 * Prepares `s` unless this connection has it, or may not, and runs it.
 *
 *	values, lengths, formats	borrowed: as PQexecParams(); lengths and formats may be NULL when all are texts
 *	result				out: taken, PQclear() it; text format; NULL on error
 *
 * ERR_AWAY      there is no answer; ask db_is_open()
 * ERR_BUSY      others were in the way; it was undone
 * ERR_DATABASE  the server refused it, and has undone it
 */
enum err db_query(struct db *db, const struct statement *s, int count, const char *const *values, const int *lengths,
		  const int *formats, PGresult **result) MUST_CHECK;

/*
 * The same for a statement that changes something.
 *
 * ERR_AWAY      nothing was done
 * ERR_UNKNOWN   its answer was lost: it may or may not have been committed; or it is, and a failover may lose it
 */
enum err db_change(struct db *db, const struct statement *s, int count, const char *const *values, const int *lengths,
		   const int *formats, PGresult **result) MUST_CHECK;

/*
 * Runs several statements, without parameters, as one simple query: one transaction unless they say otherwise. Not
 * through a pooler.
 *
 *	name	borrowed: for the log
 */
enum err db_run(struct db *db, const char *name, const char *sql) MUST_CHECK;

/* Whether a transaction that db_run() began is still open and sound. */
bool db_in_transaction(const struct db *db);
