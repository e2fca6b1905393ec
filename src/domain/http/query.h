/*
 * query - the parameters of a URL: `token=…&cursor=…` (the URL standard's application/x-www-form-urlencoded).
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/defs.h"
#include "domain/http/problem.h"

/* Decodes percent-escapes, added to `out`. False: malformed, or a NUL; what was added before it stays. */
bool query_decode(struct span text, bool plus_is_space, struct buf *out);

/* A parameter that some route takes. */
struct query_name {
	const char *name;
	bool taken; /* by this one */
};

/*
 * Reports what would be passed over without a word: a parameter that is given twice, or that another route takes. Names
 * that no route takes are nobody's business.
 */
void query_check(struct span query, const struct query_name *names, size_t count, struct problem *problem);

/*
 * Appends the parameters, the token aside, as a JSON object: what an integer is written as is one, all else is text. One
 * that is not well-formed, or would hold a NUL, is empty. For a reader of JSON: a name that is there twice stays so.
 */
void query_add_json(struct span query, struct buf *out);

/*
 * The first parameter of that name, percent-decoded, added to `out`. False: not there. One that is not well-formed, or
 * would hold a NUL, is there and empty.
 */
bool query_get(struct span query, const char *name, struct buf *out);
