/*
 * request_id - what a request is found by again, in the logs of all who had to do with it.
 *
 *	X-Request-Id: 7f3c…	from the client, or whoever is in front; it goes back in the answer
 *	traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01	of W3C's Trace Context, level 1
 *
 * An id that is longer than REQUEST_ID_MAX, or of other characters, is none: so no token can be one.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "domain/http/header_list.h"

#define REQUEST_ID_MAX 64 /* bytes of A-Z a-z 0-9 _ . : / @ + = - */
#define TRACE_ID_SIZE 33  /* with NUL */

/* May what a request brings be its id? */
bool request_id_valid(struct span id);

/* The trace that a traceparent names. False: it names none. */
bool request_id_trace(char trace[TRACE_ID_SIZE], struct span traceparent);

/* What a request brings, else its trace. False: neither; of several headers none is one. */
bool request_id_given(char id[REQUEST_ID_MAX + 1], const struct header_list *ids,
		      const struct header_list *traceparents);

/*
 * The id of a request: what it brings, else its trace, else one of its own.
 *
 *	given	.bytes NULL: none
 *	trace	"": none
 *	random	16 bytes
 */
void request_id_choose(char id[REQUEST_ID_MAX + 1], struct span given, const char *trace, const uint8_t *random);
