/*
 * report - what a verb has found out, in JSON, printed for people or as it is.
 *
 * Layer    cli.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

struct report_column {
	const char *member; /* of each object */
	const char *title;
};

/* A line of JSON; a failure where it found no memory. EXIT_… */
int report_json(const struct buf *json);

/*
 * An array of objects as a table, a line each; with --json as it is. EXIT_…
 *
 *	json	an array that the database has made
 *	none	what is said where it is empty
 */
int report_table(const struct buf *json, bool as_json, const struct report_column *columns, size_t count,
		 const char *none);

/* A value as a cell has it: a text without quotes, null as -. A control character, which a terminal would obey, is a ?. */
void report_add_cell(struct buf *out, json_object *value);

/* NULL: there is none, or it is null. Borrowed from the object. */
json_object *report_member(json_object *object, const char *name);
