/*
 * utf8 - is it UTF-8, and how many characters is it (RFC 3629).
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* No overlong forms, no surrogates, nothing over U+10FFFF. */
bool utf8_valid(const char *bytes, size_t len);

/* Code points in what utf8_valid() accepted. */
size_t utf8_length(const char *bytes, size_t len);
