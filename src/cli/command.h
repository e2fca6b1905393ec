/*
 * command - the commands of `tidings`, one file each.
 *
 * Each reads its own arguments (argv[0] is its name), prints to stdout, complains in one sentence on stderr, and
 * returns what main() shall: 0 done, 1 failed, 2 called wrongly.
 *
 * Layer    cli.
 */
#pragma once

#include "base/defs.h"
#include "base/process/config.h"
#include "domain/caller/token.h"

int token_command(int argc, char **argv);
int migrate_command(int argc, char **argv);
int check_command(int argc, char **argv);
int epoch_command(int argc, char **argv);
int keys_command(int argc, char **argv);

/* A sentence on stderr, with the program's name before it. */
void complain(const char *format, ...) PRINTF(1, 2);

/* The environment, or a line for each problem on stderr and exit 2. */
void read_config(struct config *c);
