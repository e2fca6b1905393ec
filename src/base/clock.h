/*
 * clock - the only place that asks the system what time it is.
 *
 * Durations are measured on the monotonic clock, so that a jump of the wall clock neither closes nor keeps anything.
 *
 * Layer    base.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Milliseconds on the monotonic clock. */
int64_t clock_monotonic_ms(void);

/* The same clock in microseconds: for what is measured, not waited for. */
int64_t clock_monotonic_us(void);

/* Microseconds since 1970, wall clock. */
int64_t clock_wall_us(void);

/* Seconds until the next day begins in UTC, for a time from 1970 on: 1 to 86,400. */
int64_t clock_day_left_s(int64_t wall_us);

#define CLOCK_TEXT_SIZE 28

/*
 * RFC 3339 in UTC with milliseconds, as every message carries it: 2026-11-21T10:00:00.123Z. Returns `out`.
 */
char *clock_text(char out[CLOCK_TEXT_SIZE], int64_t wall_us);

#define CLOCK_HTTP_DATE_SIZE 30

/* As a Date header has it (RFC 9110, section 5.6.7): Sat, 21 Nov 2026 10:00:00 GMT. Returns `out`. */
char *clock_http_date(char out[CLOCK_HTTP_DATE_SIZE], int64_t wall_us);
