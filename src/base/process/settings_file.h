/*
 * settings_file - the file that a program's settings come from (TIDINGS_ENVIRONMENT_FILE), read again by a reload (SIGHUP).
 *
 * Nobody can change the environment of a program that runs; so it reads the file itself, as systemd does (EnvironmentFile=):
 * lines NAME=value, comments, quotes. An option that is in it, or was when the program started, has the value of the file, or
 * its default where it is there no more. Every other one has its value of the environment.
 *
 *	RELOADED in options.def		taken over, with a line in the log
 *	any other, which has changed	counts from the next start on: a line in the log
 *	anything wrong in it		nothing is taken over, the log says what it is
 *
 * Layer    base.
 * Threads  one reloads at a time; the config may be read by any meanwhile.
 * Memory   each version of the file that has changed something stays until the end: its texts are in the config.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"

struct settings_file; /* opaque */

/*
 *	c	borrowed, for as long as it lives: it has been read from the environment just now
 *	f	out: NULL where TIDINGS_ENVIRONMENT_FILE is not set
 *
 * ERR_CONFIG  it cannot be read, or is no such file: logged
 */
enum err settings_file_open(struct settings_file **f, struct config *c) MUST_CHECK;
void settings_file_close(struct settings_file **f);

/*
 *	f	NULL: nothing is done
 */
void settings_file_reload(struct settings_file *f);
