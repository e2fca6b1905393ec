/*
 * config - the options of options.def, read from the environment.
 *
 * A program refuses to start on an unknown TIDINGS_ name (a typing error would otherwise be a silent default) or on a
 * value out of its limits, and names it. An empty value is as good as none. A program uses the options that it needs
 * and ignores the others: one file serves all.
 *
 * Layer    base.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

struct config {
#define TEXT(name, field, value) const char *field; /* lent by the environment, or static */
#define NUMBER(name, field, value, min, max) int64_t field;
#define CHOICE(name, field, value, words) int field; /* index of the word */
#define OTHER(name)
#include "base/process/options.def"
#undef TEXT
#undef NUMBER
#undef CHOICE
#undef OTHER
};

/*
 * Reads `environment` (as environ).
 *
 *	problems	one line per wrong name or value is added; empty when OK
 *
 * ERR_CONFIG  `problems` tells; the config is not to be used
 */
enum err config_read(struct config *c, char **environment, struct buf *problems) MUST_CHECK;

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
