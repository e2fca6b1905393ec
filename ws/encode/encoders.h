/*
 * encoders - the voices there are: WebSocket frames, server-sent events, the reply to a poll (spec sections 4 and 5).
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/encoder.h"
#include "ws/session/session.h"

extern const struct voice voice_websocket, voice_live, voice_sse, voice_poll;

/* The reply to a poll: what it holds and has not expired, and then messages (their texts, joined by commas), or none. */
void voice_poll_reply(struct buf *out, const struct session *s, struct span messages);
