/*
 * header_list - lists in headers: items separated by commas, in one line or several (RFC 9110, section 5.6.1).
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>

#include "base/defs.h"

#define HEADER_LINES_MAX 4 /* of one list: more in so many lines are refused */

/* A header that is a list, which may come in several lines (RFC 9110, section 5.3). */
struct header_list {
	struct span lines[HEADER_LINES_MAX];
	unsigned count;
};

/* Adds a line. False: there are HEADER_LINES_MAX already. */
bool header_list_add(struct header_list *list, struct span line);

/* Whether the item is there, in any case. */
bool header_list_has(struct header_list list, const char *wanted);

/* Whether an Accept names this media type, by itself and not with a weight of 0 (RFC 9110, sections 12.4.2, 12.5.1). */
bool header_list_accepts(struct header_list accept, const char *type);

/* Without the space around it. */
struct span list_trim(struct span s);

/*
 * Goes through a list, separated by commas or semicolons: takes the first item off `list`, without space around it.
 * False at the end. Empty items are passed over.
 */
bool list_next(struct span *list, char separator, struct span *item);

/* The same for a header's lines, whose items are separated by commas. */
bool header_list_next(struct header_list *list, struct span *item);
