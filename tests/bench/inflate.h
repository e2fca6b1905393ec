/*
 * inflate - the text of a message that came compressed (RFC 7692), each with a context of its own.
 *
 * A server that compresses once sends the same bytes to every client: so the last message is remembered, and only bytes
 * that differ from it are inflated again. That way all are checked, and the client is no bottleneck.
 *
 * Layer    tests: zlib.
 * Threads  none: one state for the program.
 */
#pragma once

#include "base/defs.h"

/* Lent, until the next call; die() when it is no compressed text. */
struct span inflate_text(struct span compressed);
