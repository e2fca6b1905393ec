/*
 * scan - looks into our own flat messages. This is no JSON parser: it finds what is written as we write it.
 *
 * Layer    tests.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

/* The value of the first `"key":`: a number, or -1 when there is none. `key` with its quotation marks. */
int64_t scan_number(struct span json, const char *key);

/* The text of the first `"key":"text"`, lent; no bytes when there is none. */
struct span scan_text(struct span json, const char *key);

bool scan_is(struct span json, const char *key, const char *text);

/* What is in the brackets of the first `"key":[…]`; false: there is none, or it does not end. */
bool scan_list(struct span json, const char *key, struct span *items);

/* Takes the next object off a list. False: there is no more. */
bool scan_next(struct span *items, struct span *object);
