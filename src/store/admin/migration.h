/*
 * migration - brings a database to the schema that these programs need.
 *
 * A folder holds three:
 *
 *	tables/	numbered files, 001_name.sql, 002_name.sql, …: each applied once, in order, in a transaction of its own, and
 *		never changed afterwards. There is no way back but a backup.
 *	code/	the functions, each defined once (CREATE OR REPLACE). Loaded as a whole, in one transaction, whenever their joint
 *		checksum is another than the database's; functions that an earlier load made and this one does not are dropped.
 *	rules/	a file for each function that an operator may replace, named after it: run when that function is missing, and
 *		never otherwise.
 *
 * What was applied is recorded in tidings.migration and tidings.code, with SHA-256 checksums.
 *
 * Layer    store.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/blocking/db.h"

struct migrations; /* opaque: the files of the three folders */

/*
 *	problem		out: a sentence for the operator, when not OK
 *
 * ERR_CONFIG  unreadable, no such file in it, a number that is missing or there twice, a malformed name
 */
enum err migrations_load(struct migrations **m, const char *folder, struct buf *problem) MUST_CHECK;
void migrations_free(struct migrations **m);

/*
 * Compares the database with the files, changing nothing.
 *
 *	db		logged in as migrations_apply() needs it, or as tidings_reader
 *	pending		out: a line for each thing that migrations_apply() would do; none: the database is up to date
 *	problem		out: a sentence for the operator, when not OK
 *
 * ERR_CONFIG    the database's encoding is not UTF8
 * ERR_CONFLICT  an applied file has changed or is missing, or the database has one that is newer than the files
 * ERR_AWAY, ERR_DATABASE
 */
enum err migrations_compare(const struct migrations *m, struct db *db, struct buf *pending,
			    struct buf *problem) MUST_CHECK;

/*
 * Applies what is missing, alone: another one that does the same is waited for.
 *
 *	db	opened without a timeout
 *	report	out: a line for each thing that was done, also when a later one fails
 *	problem	out: as above
 */
enum err migrations_apply(const struct migrations *m, struct db *db, struct buf *report,
			  struct buf *problem) MUST_CHECK;
