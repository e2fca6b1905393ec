/*
 * file - a small file, read and written as a whole.
 *
 * Layer    base.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"

/*
 *	secret	refuse what every user of the machine may read
 *	out	the bytes are added
 *
 * ERR_NOT_FOUND  no such file
 * ERR_TOO_LARGE  over bytes_max
 * ERR_FORBIDDEN  secret, and readable by others; or writable by others, which nothing of ours may be
 * ERR_SYSTEM     cannot be opened or read, or is no regular file: errno tells
 */
enum err file_read(const char *path, size_t bytes_max, bool secret, struct buf *out) MUST_CHECK;

/*
 * Makes a file, or replaces one: whoever reads it meanwhile finds the old bytes or the new ones, and so does who reads it after
 * a loss of power. It is the caller's user's then.
 *
 *	mode	of the file, whatever the umask
 *
 * ERR_SYSTEM  it cannot be written there, and is as it was: errno tells
 * ERR_MEMORY
 */
enum err file_replace(const char *path, mode_t mode, struct span bytes) MUST_CHECK;
