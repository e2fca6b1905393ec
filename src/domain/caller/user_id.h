/*
 * user_id - user ids as JSON has them: an integer when the id is one, else text (spec section 4).
 *
 * Inside, an id is always text: 456 and "456" are the same user.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define USER_ID_MAX 128 /* bytes */

/* 1..USER_ID_MAX bytes of UTF-8 without control characters. */
bool user_id_valid(const char *user_id, size_t len);

/* Appends the id as a JSON value; NULL (anonymous) is null. Only a canonical decimal of at most 15 digits is exact
 * everywhere. */
void user_id_add_json(struct buf *out, const char *user_id);
