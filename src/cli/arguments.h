/*
 * arguments - what a verb of `tidings` takes, and what it was called with.
 *
 * The table of verbs (verbs.h) says both of each; the parser, the usages and the completion of a shell are made from it.
 *
 * Layer    cli.
 * Memory   the texts of argv and of the table are borrowed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"

#define VERB_OPTIONS_MAX 8

struct verb_option {
	const char *name;  /* without its --; NULL: none */
	const char *value; /* as the usage shows it: FILE, or one of several words: yes|no; NULL: it takes none */
	const char *help;
};

struct arguments;

struct verb {
	const char *name; /* one word, or two: "outbox list" */
	/* As the usage shows them. [X] may be left out, of X... there may be more; a word in lower case is itself. */
	const char *operands;
	const char *help;
	int (*run)(const struct arguments *a);
	struct verb_option options[VERB_OPTIONS_MAX]; /* besides --json and --help */
};

struct arguments {
	const struct verb *verb;
	char **operands;
	size_t count;			      /* of them */
	const char *values[VERB_OPTIONS_MAX]; /* of the verb's options, in their places; NULL: not given */
	bool json;
};

enum arguments_outcome {
	ARGUMENTS_GOOD,
	ARGUMENTS_HELP, /* it was asked for */
	ARGUMENTS_WRONG /* a sentence has been printed on stderr */
};

/*
 *	argv	argv[0] is what stands before the first operand or option; operands are moved behind the options
 */
enum arguments_outcome arguments_read(struct arguments *a, const struct verb *verb, int argc, char **argv) MUST_CHECK;

/* The value of an option of the verb's, "" of one that takes none. NULL: not given. */
const char *arguments_value(const struct arguments *a, const char *option);

/*
 * A whole number.
 *
 *	number	in, out: stays what it is where the option was not given
 *
 * False: it is none, or out of its limits; a sentence has been printed.
 */
bool arguments_number(const struct arguments *a, const char *option, int64_t min, int64_t max,
		      int64_t *number) MUST_CHECK;

/* The next operand of a usage, as "[JSON|-]". False: that was the last. */
bool arguments_next_operand(const char **operands, struct span *word);

/* Appends "tidings VERB OPERANDS [--option VALUE]... [--json]". */
void arguments_add_usage(struct buf *out, const struct verb *verb);
