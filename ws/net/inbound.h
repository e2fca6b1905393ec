/*
 * inbound - what a client says on its WebSocket: pieces become messages, and are charged by what they cost to read.
 *
 *	frames -> inbound_piece() -> whole, within its rate, inflated, UTF-8 -> dialog, or live
 *
 * A message that has not come whole waits in session.in: so long and no longer (TIDINGS_SLOW_TIMEOUT), as large as a
 * message may be, and small from a client that has no user. All of them together have UNFINISHED_MAX; beyond, the one
 * that was begun first goes with its client.
 *
 * Layer    ws.
 * Memory   at most UNFINISHED_MAX, and the piece that has just come.
 */
#pragma once

#include <stdbool.h>

#include "domain/websocket/frame_reader.h"
#include "ws/node.h"

/* Part of a message. */
void inbound_piece(struct session *s, const struct frame_piece *p);

/* A ping or a pong. False: over the client's rate, it is not answered. */
bool inbound_control(struct session *s);
