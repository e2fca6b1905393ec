/*
 * encode_sse - a session told as server-sent events (spec section 5).
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/encoder.h"

extern const struct encoder encoder_sse;
