/*
 * log_fields - a line of the log, taken apart: a few words, then key=value pairs, as log.h has them; and the same as JSON.
 *
 *	closing a client that reads too slowly connection=0f0f… user="two words"
 *
 * The first pair is where everything up to the end of the line is pairs. A key is [a-z][a-z0-9_]*; a value ends with a space, or is
 * log_quote()'s.
 *
 * Layer    base.
 * Threads  any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/defs.h"

struct log_field {
	struct span key;
	struct span value; /* without the quotes around it */
	bool quoted;	   /* what log_quote() has escaped in it is still so */
};

/* Where the pairs begin; text.len: there are none. */
size_t log_fields_start(struct span text);

/* Takes the first pair off `pairs`. False: there is none. */
bool log_fields_next(struct span *pairs, struct log_field *field);

/*
 * The value as it was before log_quote(), cut at `size`. Returns its length; no NUL is added.
 *
 *	out	may be NULL where size is 0
 */
size_t log_fields_value(char *out, size_t size, const struct log_field *field);

/*
 * The members of a JSON object, without its braces: `"msg":"listening","port":"8001"`. Values are strings, all of them. A byte that is no
 * UTF-8 becomes U+FFFD. Where there is no room for all, the last members are left out, and `"cut":true` is the last. Returns the length.
 *
 *	size	at least 64
 */
size_t log_fields_json(char *out, size_t size, struct span text);
