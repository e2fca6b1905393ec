/*
 * migration - brings a database to the schema that these programs need.
 *
 * A directory holds numbered files, 001_name.sql, 002_name.sql, …; a file is applied once, in order, in a transaction
 * of its own, and never changes afterwards: what was applied is recorded in tidings.migration with its SHA-256. There
 * is no way back but a backup. Other files in the directory are not ours to read.
 *
 * Layer    store.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/db.h"

struct migrations; /* opaque: the files of a directory, in order */

/*
 *	problem		out: a sentence for the operator, when not OK
 *
 * ERR_CONFIG  unreadable, no such file in it, a number that is missing or there twice, a malformed name
 */
enum err migrations_load(struct migrations **m, const char *directory, struct buf *problem) MUST_CHECK;
void migrations_free(struct migrations **m);

/* How many files there are. */
size_t migrations_count(const struct migrations *m);

/*
 * Compares the database with the files, changing nothing.
 *
 *	applied		out: so many of the files, from the first on, are in the database
 *	problem		out: a sentence for the operator, when not OK
 *
 * ERR_CONFLICT  an applied file has changed or is missing, or the database has one that is newer than the files
 * ERR_AWAY, ERR_DATABASE
 */
enum err migrations_compare(const struct migrations *m, struct db *db, size_t *applied, struct buf *problem) MUST_CHECK;

/*
 * Applies what is missing, alone: another one that does the same is waited for.
 *
 *	db	opened without a timeout
 *	report	out: a line for each file that was applied, also when a later one fails
 *	problem	out: as above
 */
enum err migrations_apply(const struct migrations *m, struct db *db, struct buf *report,
			  struct buf *problem) MUST_CHECK;
