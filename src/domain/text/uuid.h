/*
 * uuid - names of connections and nodes (RFC 9562): random, version 4.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UUID_BYTES 16
#define UUID_TEXT_SIZE 37

struct uuid {
	uint8_t bytes[UUID_BYTES];
};

/* Makes the version and variant bits of 16 random bytes right. */
struct uuid uuid_of_random(const uint8_t random[UUID_BYTES]);

/* Lower case with hyphens. Returns `out`. */
char *uuid_text(char out[UUID_TEXT_SIZE], const struct uuid *u);

/* The form with hyphens, either case. False: it is not one, *u is as it was. */
bool uuid_parse(struct uuid *u, const char *text, size_t len);

bool uuid_equal(const struct uuid *a, const struct uuid *b);
