/*
 * schema_state - what a database has of the schema's files.
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/admin/schema_files.h"
#include "store/blocking/db.h"

/*
 * Compares the database with the files, changing nothing.
 *
 *	db		logged in as migration_apply() needs it, or as tidings_reader
 *	pending		out: a line for each thing that migration_apply() would do; none: the database is up to date
 *	problem		out: a sentence for the operator, when not OK
 *
 * ERR_CONFIG    the database's encoding is not UTF8
 * ERR_CONFLICT  an applied file has changed or is missing, or the database has one that is newer than the files
 * ERR_AWAY, ERR_DATABASE
 */
enum err schema_state_compare(const struct schema_files *m, struct db *db, struct buf *pending,
			      struct buf *problem) MUST_CHECK;

/* ---- its parts, each with a sentence in `problem` when not OK */

/* `e` itself; unless it is OK, `problem` says what failed in doing what. */
enum err schema_state_told(const struct db *db, enum err e, struct buf *problem, const char *doing) MUST_CHECK;

/* What clients write in any language has to fit, and the files are UTF-8 themselves. */
enum err schema_state_check_encoding(struct db *db, struct buf *problem) MUST_CHECK;

/*	there		out: something of it has been applied */
enum err schema_state_exists(struct db *db, bool *there, struct buf *problem) MUST_CHECK;

/*
 *	applied		out: so many of the files, from the first on, are in the database
 *	own		out: this login reads the tables themselves
 */
enum err schema_state_compare_tables(const struct sql_files *tables, struct db *db, size_t *applied, bool *own,
				     struct buf *problem) MUST_CHECK;

/*	current		out: the database has this code, and no other */
enum err schema_state_compare_code(const struct schema_files *m, struct db *db, bool own, bool *current,
				   struct buf *problem) MUST_CHECK;

/* authorize.sql makes tidings.authorize(): is that there? */
enum err schema_state_find_rule(struct db *db, const struct sql_file *rule, bool *there,
				struct buf *problem) MUST_CHECK;
