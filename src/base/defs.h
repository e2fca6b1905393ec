/*
 * defs - the few words that every file may use.
 *
 * Layer    base: knows nothing of the product.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#ifndef MIN /* <sys/param.h>, which <uv.h> brings along, has them too */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

/* Bytes that somebody else keeps; not NUL-terminated unless its giver says so. */
struct span {
	const char *bytes; /* borrowed */
	size_t len;	   /* bytes */
};
