/*
 * frames - takes apart what tail and hub hand out, for their tests: server text frames (RFC 6455, section 5.2), read by other code
 * than that which made them. Include after <cmocka.h>.
 */
#pragma once

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"

/* Takes the next frame off `rest`. False at the end; half a frame fails the test. */
static inline bool frames_next(struct span *rest, struct span *payload)
{
	const unsigned char *b = (const unsigned char *)rest->bytes;
	uint64_t len = 0;
	size_t header = 2;

	if (rest->len == 0)
		return false;
	assert_true(rest->len >= 2);
	assert_int_equal(b[0], 0x81);
	assert_true(b[1] <= 127);
	if (b[1] >= 126)
		header += b[1] == 126 ? 2 : 8;
	assert_true(rest->len >= header);
	if (header == 2)
		len = b[1];
	for (size_t i = 2; i < header; i++)
		len = len << 8 | b[i];
	assert_true(header != 4 || len >= 126);
	assert_true(header != 10 || len > 65535);
	assert_true(rest->len - header >= len);
	*payload = (struct span){rest->bytes + header, (size_t)len};
	rest->bytes += header + len;
	rest->len -= header + len;
	return true;
}

/* The 7 of {"seq":7,… */
static inline uint64_t frames_seq(struct span payload)
{
	static const char start[] = "{\"seq\":";
	char digits[24] = "";
	char *end = NULL;

	assert_true(payload.len > sizeof(start));
	assert_memory_equal(payload.bytes, start, sizeof(start) - 1);
	for (size_t i = 0; i < sizeof(digits) - 1 && sizeof(start) - 1 + i < payload.len; i++)
		digits[i] = payload.bytes[sizeof(start) - 1 + i];
	uint64_t seq = strtoull(digits, &end, 10);

	assert_true(end > digits && (*end == ',' || *end == '}'));
	return seq;
}

/* The same numbers in every run (splitmix64, Steele, Lea and Flood 2014). */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* 0…below-1 */
static inline size_t pick(uint64_t *state, size_t below)
{
	return (size_t)(next_random(state) % below);
}
