/*
 * migration - brings a database to the schema that these programs need.
 *
 * The files lie in three folders (schema_files.h). What was applied is recorded in tidings.migration and tidings.code, with SHA-256 checksums.
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "store/admin/schema_files.h"
#include "store/blocking/db.h"

/*
 * Applies what is missing, alone: another one that does the same is waited for.
 *
 *	db	opened without a timeout
 *	dry	all of it is one transaction, which is rolled back: whatever would fail fails
 *	report	out: a line for each thing that was done, also when a later one fails
 *	problem	out: a sentence for the operator, when not OK
 */
enum err migration_apply(const struct schema_files *m, struct db *db, bool dry, struct buf *report,
			 struct buf *problem) MUST_CHECK;
