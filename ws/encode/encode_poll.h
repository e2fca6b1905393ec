/*
 * encode_poll - a session told as the reply to a poll (spec section 5).
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/session.h"

extern const struct encoder encoder_poll;

/* The reply: what the session holds and has not expired, and then messages (their texts, joined by commas), or none. */
void encode_poll_reply(struct buf *out, const struct session *s, struct span messages);
