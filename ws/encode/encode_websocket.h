/*
 * encode_websocket - the encoders there are: WebSocket frames, server-sent events, the reply to a poll (spec sections 4 and 5).
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/encoder.h"
#include "ws/session/session.h"

extern const struct encoder encoder_websocket, encoder_live, encoder_sse, encoder_poll;

/* The reply to a poll: what it holds and has not expired, and then messages (their texts, joined by commas), or none. */
void encode_poll_reply(struct buf *out, const struct session *s, struct span messages);
