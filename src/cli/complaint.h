/*
 * complaint - what goes wrong, in a sentence on stderr.
 *
 * Layer    cli.
 */
#pragma once

#include "base/defs.h"

/* The program's name stands before it. */
void complain(const char *format, ...) PRINTF(1, 2);
