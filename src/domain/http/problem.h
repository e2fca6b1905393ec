/*
 * problem - why a request was refused, as application/problem+json (RFC 9457).
 *
 *	{"type":"about:blank","title":"Unprocessable Content","status":422,"detail":"…",
 *	 "errors":[{"field":"rating","message":"…"}]}
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct problem {
	int status;
	const char *detail; /* static: one plain sentence */
	struct buf errors;  /* owned: the members of `errors`, joined by commas */
	size_t errors_count;
	bool done_unknown; /* of a 503: it may have been done. Its `done` is "unknown" then, else "no" */
};

#define PROBLEM_NONE ((struct problem){0})

/* The line of a 401's head that says why, printf-like (RFC 6750 3). The detail is ASCII without " and \. */
#define PROBLEM_CHALLENGE "WWW-Authenticate: Bearer error=\"invalid_token\", error_description=\"%s\"\r\n"

/* The detail of a 401 where no token came. */
#define PROBLEM_NO_TOKEN "A token is required: Authorization: Bearer <token>."

/* "Not Found", …: the title of about:blank is the status' own phrase. Lent: static. */
const char *problem_title(int status);

/*
 * Adds one wrong field, and makes it a 422.
 *
 *	prefix		"" or the item of a batch, "[3]."
 *	message		what it must be
 */
void problem_add_field(struct problem *p, const char *prefix, const char *field, const char *message);

/* The same by a sentence that begins with the field's name: "rating is required". */
void problem_add_sentence(struct problem *p, const char *sentence);

/* Appends `,"errors":[…]`; nothing when there are none. `out` fails where one of them found no memory. */
void problem_add_errors(struct buf *out, const struct problem *p);

/* Appends the body of the reply. */
void problem_write(struct buf *out, const struct problem *p);

void problem_free(struct problem *p);
