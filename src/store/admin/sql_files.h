/*
 * sql_files - the SQL files of a folder, in the order of their names.
 *
 * Layer    store.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

struct sql_file {
	char *name;	 /* owned: 001_first.sql */
	struct buf text; /* UTF-8, without NUL */
};

struct sql_files {
	struct sql_file *files; /* owned */
	size_t count;
};

/*
 * Whatever is named *.sql; other files in the folder are not ours to read.
 *
 *	out		out: empty when not OK
 *	problem		out: a sentence for the operator, when not OK
 *
 * ERR_CONFIG  unreadable, or no such file in it
 */
enum err sql_files_load(struct sql_files *out, const char *folder, struct buf *problem) MUST_CHECK;
void sql_files_free(struct sql_files *files);
