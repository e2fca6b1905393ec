/*
 * json - JSON from strangers: read strictly, and passed on as it was written.
 *
 * The tree is json-c's, but not its reader, which forgives more than RFC 8259 does, keeps silent about duplicate keys,
 * rounds numbers that don't fit, and where memory fails ends the program, or gives a tree that lacks something. json_scan
 * goes over the text first: what it lets through is JSON to every reader, and what is only passed on (`data`,
 * `old_data`, …) is copied from the text, not made anew from the tree.
 *
 *	json_read()	text -> checked tree
 *	json_next()	walks the values of a checked object or array as text, in the order in which json-c has them too
 *
 * Layer    domain.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

/*
 *	text	borrowed
 *	root	out: taken, json_object_put() it; NULL for the JSON text `null`
 *	problem	out: lent, static: a sentence for the sender, when ERR_INPUT
 *
 * ERR_INPUT  not JSON (RFC 8259), not UTF-8, half a surrogate pair, a NUL, a key twice, nested too deeply
 * ERR_MEMORY
 */
enum err json_read(struct json_object **root, const char *text, size_t len, const char **problem) MUST_CHECK;

/*
 * Takes the next value off a container's text.
 *
 *	rest	at first the whole text of an object or array that json_read() has accepted; then what this left of it
 *	value	out: borrowed from the text: the value alone, without its key, no space around it
 */
bool json_next(struct span *rest, struct span *value);

/* The same value, whatever the order of keys; 1 is 1.0, and numbers of any length are compared digit by digit. NULL is
 * `null`. */
bool json_equal(struct json_object *a, struct json_object *b);

#define JSON_INTEGER_SIZE 24

/* How a number of such a tree was written, whatever json-c made of its value: lent by the tree, or in `room`. */
struct span json_number_text(struct json_object *number, char room[JSON_INTEGER_SIZE]);

/* Whether it is an integer of 64 bits, and which. json-c holds any other as the nearest that it can. */
bool json_int64(struct json_object *value, int64_t *number);

/* Appends a checked text without the space between its parts: never a line break. */
void json_add_compact(struct buf *out, struct span text);

/* Appends valid UTF-8 as a JSON string, with its quotes. */
void json_add_string(struct buf *out, const char *text, size_t len);
