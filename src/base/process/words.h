/*
 * words - a list of words in one text: "never|public".
 *
 * Layer    base.
 */
#pragma once

#include <stddef.h>

#include "base/defs.h"

/* Where `word` is in the list; -1: nowhere. */
int words_index(const char *words, const char *word);

/* The word at `index`, which is there. Lent by the list. */
struct span words_at(const char *words, int index);

/* "": one, which is empty. */
int words_count(const char *words);
