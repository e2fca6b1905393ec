/*
 * message - one stored message, as it goes out.
 *
 * The queue keeps a message as finished JSON without its seq, which is known only when it is committed; so whoever
 * sends it puts the seq in front and never parses it.
 *
 * Layer    domain.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"

/* `{"type":…}` with 7 becomes `{"seq":7,"type":…}`. `body` is a JSON object as tidings.message keeps it. */
void message_add(struct buf *out, uint64_t seq, const char *body, size_t body_len);

/* The 7 of a text that message_add() made; 0: it has none (an ephemeral one). */
uint64_t message_seq(struct span text);
