/*
 * message - one stored message, as it goes out.
 *
 * The queue keeps a message as finished JSON without its seq, which is known only when it is committed; so whoever sends it puts
 * the seq in front and never parses it.
 *
 * Layer    domain.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"

/* `{"type":…}` with 7 becomes `{"seq":7,"type":…}`. `body` is a JSON object as tidings.message keeps it. */
void message_add(struct buf *out, uint64_t seq, const char *body, size_t body_len);

/* Longest text that message_add() puts in front. */
#define MESSAGE_SEQ_MAX 28
