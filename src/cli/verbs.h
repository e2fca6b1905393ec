/*
 * verbs - the table of what `tidings` can be told to do.
 *
 * Layer    cli.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/defs.h"
#include "cli/arguments.h"

/*
 * The verb that the words begin with.
 *
 *	words	out: so many of them are its name
 *
 * NULL: there is none of that name
 */
const struct verb *verbs_find(int argc, char **argv, int *words);

/* Appends what --help prints: of the command; of every verb whose name begins with that word; or of one. */
void verbs_add_help(struct buf *out);
void verbs_add_help_of(struct buf *out, const char *word);
void verbs_add_help_of_one(struct buf *out, const struct verb *verb);

/* Whether a name of two words begins with this one. */
bool verbs_is_first_word(const char *word);

/*
 * Appends, a line each, what the last word may become; nothing where it is for the shell to complete, as a file's name.
 *
 *	words	those that stand behind `tidings`; the last one is being written
 */
void verbs_complete(struct buf *out, int count, char **words);
