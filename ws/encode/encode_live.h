/*
 * encode_live - a live connection told as WebSocket frames (spec section 6): every message by itself, and errors said before the
 * close.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/encoder.h"

extern const struct encoder encoder_live;
