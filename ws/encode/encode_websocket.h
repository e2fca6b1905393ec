/*
 * encode_websocket - a session told as WebSocket frames (spec section 4).
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/encoder.h"

extern const struct encoder encoder_websocket;

/* What the live encoder says alike: a text in a frame; one that is freed; a message as it comes; the close. */
void encode_frame(struct buf *out, struct span text);
void encode_text_frame(struct buf *out, struct buf *text);
void encode_websocket_message(struct buf *out, const struct subscription *sub, struct span message);
void encode_websocket_end(struct buf *out, const struct session *s);
