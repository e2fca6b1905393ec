/*
 * topic - names of what clients listen to (spec section 1).
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

#define TOPIC_NAME_MAX 128 /* bytes */

/* [A-Za-z0-9_.:/-]{1,128} */
bool topic_name_valid(const char *name, size_t len);

/*
 * A positive decimal integer of at most 18 digits, without sign or leading zero: what `{diagnosis_id}` may be in a
 * path. False: it is not one, *id is as it was.
 */
bool topic_parse_id(const char *text, size_t len, int64_t *id);

/* "diagnosis/123" into `name`. */
void topic_of_diagnosis(char name[TOPIC_NAME_MAX + 1], int64_t diagnosis_id);

/* The 123 of "diagnosis/123"; false for any other topic. */
bool topic_diagnosis_id(const char *name, int64_t *diagnosis_id);
