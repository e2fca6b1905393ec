/*
 * fields - the members of a JSON object, checked against a table: which there must be, and what each may hold.
 *
 * Everything wrong is reported at once, so that nobody has to try five times. An optional member that is null counts as
 * not given, but where null is a value. Members that the table does not name are for the caller to refuse or to tell:
 * fields_refuse_others(), fields_name_others().
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "domain/http/problem.h"
#include "domain/input/field.h"

/*
 * Looks at every member of `object`.
 *
 *	text	of the object; borrowed
 *	prefix	for the names in `problem`: "" or "[3]."
 *	fields	out: one per rule, in the rules' order
 *	problem	what is wrong is added
 *
 * False: something is wrong; `fields` is filled all the same, but only those without a fault may be relied on.
 */
bool fields_read(const struct field_rule *rules, size_t count, struct json_object *object, struct span text,
		 const char *prefix, struct field *fields, struct problem *problem);

#define FIELD_OTHERS_MAX 20 /* more are not told: whoever sent them knows by then */

/*
 * Reports each member of `object` that the table does not name as wrong, up to FIELD_OTHERS_MAX of them.
 *
 *	also	names besides, that count as known; ends with NULL
 */
void fields_refuse_others(const struct field_rule *rules, size_t count, const char *const *also,
			  struct json_object *object, const char *prefix, struct problem *problem);

/*
 * Appends the names of those members as JSON strings, separated by commas, each with the prefix.
 *
 *	names_count	how many there are in `out`; counted on, up to FIELD_OTHERS_MAX
 */
void fields_name_others(const struct field_rule *rules, size_t count, struct json_object *object, const char *prefix,
			struct buf *out, size_t *names_count);

/* A member by its name, whatever the table: its value, and how it was written. False: it is not there, *f is empty. */
bool fields_find(struct json_object *object, struct span text, const char *name, struct field *f);
