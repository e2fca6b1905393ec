/*
 * cursor - a position in a topic, as clients carry it: `<epoch>-<seq>` (spec section 1).
 *
 * Layer    domain.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

#define EPOCH_MAX 32 /* bytes */
#define CURSOR_TEXT_SIZE (EPOCH_MAX + 1 + 20 + 1)

struct cursor {
	char epoch[EPOCH_MAX + 1]; /* [0-9a-z]{1,32} */
	uint64_t seq;		   /* at most INT64_MAX: it is a bigint in the database; 0: before the first message */
};

/* ERR_INPUT  not of the form */
enum err cursor_parse(struct cursor *c, const char *text, size_t len) MUST_CHECK;

/* Returns `out`. */
char *cursor_text(char out[CURSOR_TEXT_SIZE], const char *epoch, uint64_t seq);
