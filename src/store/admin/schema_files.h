/*
 * schema_files - the SQL files that make the schema.
 *
 * A folder holds three:
 *
 *	tables/	numbered files, 001_name.sql, 002_name.sql, …: each applied once, in order, in a transaction of its own, and
 *		never changed afterwards. There is no way back but a backup.
 *	code/	the functions, each defined once (CREATE OR REPLACE). Loaded as a whole, in one transaction, whenever their joint
 *		checksum is another than the database's; functions that an earlier load made and this one does not are dropped
 *		before its last file, that of the grants.
 *	rules/	a file for each function that an operator may replace, named after it: run when that function is missing, and
 *		never otherwise.
 *
 * Layer    store.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/admin/sql_files.h"

struct schema_files {
	struct sql_files tables; /* a file's number is its place in the list, from 1 */
	struct sql_files code;
	struct sql_files rules;
	struct buf code_text; /* all of code/, one after the other */
};

/*
 *	problem		out: a sentence for the operator, when not OK
 *
 * ERR_CONFIG  unreadable, no such file in it, a number that is missing or there twice, a malformed name
 */
enum err schema_files_load(struct schema_files **m, const char *folder, struct buf *problem) MUST_CHECK;
void schema_files_free(struct schema_files **m);
