/*
 * poll - the kind of a poll: a request whose reply is held until there is something, or its time is over (spec section 5).
 *
 *	each of its topics is looked at: CAUGHT_UP
 *	something was missed, or it brought no cursor	-> the reply
 *	nothing						-> it waits: all LIVE; the first message is the reply
 *
 * When the reply is out, its subscriptions are parked (parked_polls.h): the next poll goes on there.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/kind.h"

extern const struct session_kind kind_poll;
