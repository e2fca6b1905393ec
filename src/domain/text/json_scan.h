/*
 * json_scan - goes over a text by the grammar of RFC 8259, without making anything of it.
 *
 * Layer    domain: for json.c, which makes the tree of what was let through.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/defs.h"
#include "base/err.h"

#define JSON_DEPTH_MAX 32 /* objects and arrays in one another (spec section 3) */

struct json_scan {
	const char *at;
	const char *end;
	const char *problem; /* static; set when a scan fails */
	int depth;
};

/*
 *	problem	out: lent, static: a sentence for the sender, when ERR_INPUT
 *
 * ERR_INPUT  not one JSON value and space around it, not UTF-8, half a surrogate pair, a NUL, nested too deeply
 */
enum err json_scan_check(const char *text, size_t len, const char **problem) MUST_CHECK;

/* Take what is next. False: it is not there, and s->problem says so. */
bool json_scan_value(struct json_scan *s); /* with the space before it */
bool json_scan_string(struct json_scan *s);
bool json_scan_number(struct json_scan *s);

/* Takes the four digits of \uXXXX; -1: they are not. */
int json_scan_hex(struct json_scan *s);

static inline bool json_is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline void json_scan_space(struct json_scan *s)
{
	while (s->at < s->end && json_is_space(*s->at))
		s->at++;
}

/* Takes `c` if it is next. */
static inline bool json_scan_take(struct json_scan *s, char c)
{
	if (s->at == s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}
