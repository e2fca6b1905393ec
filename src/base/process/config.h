/*
 * config - the options of options.def, read from the environment.
 *
 * A program refuses to start on an unknown TIDINGS_ name (a typing error would otherwise be a silent default) or on a
 * value out of its limits, and names it. An empty value is as good as none. A program uses the options that it needs
 * and ignores the others: one file serves all.
 *
 * Layer    base.
 * Threads  any number read a config while one takes over what a reload has brought: each value is atomic.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

struct config {
#define TEXT(name, field, value) const char *_Atomic field; /* lent by the environment, or static */
#define NUMBER(name, field, value, min, max) _Atomic int64_t field;
#define CHOICE(name, field, value, words) _Atomic int field; /* index of the word */
#include "base/process/options.def"
};

/*
 * Reads `environment` (as environ).
 *
 *	problems	one line per wrong name or value is added; empty when OK
 *
 * ERR_CONFIG  `problems` tells; the config is not to be used
 */
enum err config_read(struct config *c, char **environment, struct buf *problems) MUST_CHECK;

/*
 * The value that an entry (NAME=value) of `environment` has for the option of that name, the last one where there are several: lent
 * by it. NULL: it has none.
 *
 *	name	NAME, or NAME=whatever
 */
const char *config_value(char *const *environment, const char *name);

/*
 * Takes over from `next` what may change while the program runs (RELOADED in options.def), with a line in the log for each, and
 * a line for each other option that the file of settings has changed: that counts from the next start on. False: nothing was taken.
 *
 *	next	its texts are borrowed for good: some thread may be reading one
 *	was, is	entries of the file when the program started, and now
 */
bool config_take_over(struct config *c, const struct config *next, char *const *was, char *const *is);

/* Every option as NAME=value lines, for --check-config; a database's password is left out. */
void config_print(const struct config *c, struct buf *out);

/*
 * What every program does first: --help, --version, --check-config, config_read(environ), log_open().
 * Prints problems to stderr and exits 2 on a wrong configuration; --check-config prints the values and exits 0.
 *
 * Any other argument is a mistake too: who takes some gives argc 1 and reads them afterwards.
 *
 *	program	borrowed, for good
 *	usage	the text of --help
 */
void config_start(struct config *c, const char *program, const char *usage, int argc, char **argv);
