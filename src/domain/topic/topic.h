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
 * An id: a decimal integer from 1 to 2^63 - 1, without sign or leading zero, as PostgreSQL's bigint has them. In a path,
 * in a topic's name or in JSON it is read here. False: it is not one, *id is as it was.
 */
bool topic_parse_id(const char *text, size_t len, int64_t *id);

/*
 * A name that looks like a topic of the product's own and is none: diagnosis/0123, Diagnosis/123, chat/x, health/, health.
 * Nobody ever listens there. `name` is valid.
 *
 *	diagnosis/<id>			an id
 *	chat/<conversation>		a UUID in lower case
 *	health/, chats/, notifications/	and a user
 */
bool topic_name_misleads(const char *name);

/* Valid, and none that misleads: a topic that somebody may listen to. `name` ends with NUL. */
bool topic_name_usable(const char *name, size_t len);

/* "diagnosis/123" into `name`. */
void topic_of_diagnosis(char name[TOPIC_NAME_MAX + 1], int64_t diagnosis_id);

/* The 123 of "diagnosis/123"; false for any other topic. */
bool topic_diagnosis_id(const char *name, int64_t *diagnosis_id);
