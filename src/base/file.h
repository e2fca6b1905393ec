/*
 * file - a small file, read as a whole.
 *
 * Layer    base.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

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
