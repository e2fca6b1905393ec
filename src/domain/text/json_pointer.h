/*
 * json_pointer - a place in a JSON value, as text: /realm_access/roles (RFC 6901).
 *
 * Layer    domain.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>

#include "base/defs.h"
#include "base/err.h"

#define JSON_POINTER_MAX 256 /* bytes */

/* Whether it is one, of at most JSON_POINTER_MAX bytes, to something below the root. */
bool json_pointer_valid(const char *pointer);

/*
 * What is there.
 *
 *	root	borrowed
 *	pointer	borrowed: a valid one
 *
 * Lent by the root. NULL: nothing is there, or null.
 */
json_object *json_pointer_find(json_object *root, const char *pointer);

/*
 * Puts a value there, in objects that are made where they are not there, and in the place of whatever else is.
 *
 *	root	borrowed: an object
 *	pointer	borrowed: a valid one
 *	value	taken, also when not OK; NULL: there was no memory for it
 *
 * ERR_MEMORY  some of the objects may be made
 */
enum err json_pointer_put(json_object *root, const char *pointer, json_object *value) MUST_CHECK;
