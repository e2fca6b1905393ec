/*
 * plain - what others have written, as it is printed: a terminal obeys none of it, and no byte of it is anything but UTF-8.
 *
 * Layer    cli.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"

/* Appends a text in which a control character, and a byte that is no UTF-8, is a ?. */
void plain_add(struct buf *out, struct span text);

/* The same, but its line feeds stay. */
void plain_add_lines(struct buf *out, const char *text);

/*
 * Appends a JSON text on one line, in which a control character is escaped, and a byte that is no UTF-8 is U+FFFD.
 *
 *	json	a valid one, but for bytes that are no UTF-8 in its texts
 */
void plain_add_json(struct buf *out, struct span json);
