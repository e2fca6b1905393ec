/*
 * base64url - bytes as tokens and keys have them (RFC 4648 section 5, without padding).
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"

/* What a character stands for: 0 to 63; -1: it is none of the alphabet. */
int base64url_value(char c);

/*
 *	out	`size` bytes of room: the decoded ones, and a NUL behind them
 *	used	out: how many they are, without the NUL
 *
 * False: it is not base64url, or does not fit.
 */
bool base64url_decode(char *out, size_t size, struct span text, size_t *used) MUST_CHECK;

/* Appends the bytes' text. */
void base64url_add(struct buf *out, const void *bytes, size_t len);
