/*
 * rfc3339 - a point in time as text (RFC 3339, section 5.6): 2026-11-21T10:00:00.123+01:00.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Microseconds since 1970 in UTC; digits beyond are dropped, a leap second is the second after it. False: it is not of
 * the form, or there is no such day or time; *wall_us is as it was.
 */
bool rfc3339_parse(const char *text, size_t len, int64_t *wall_us);
