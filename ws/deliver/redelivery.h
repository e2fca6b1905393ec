/*
 * redelivery - critical notifications that are not acked go again to a user who is back (spec section 6).
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/subscription.h"

/*
 * The subscription is counted. Where it is to its user's own notifications, those that are not acked go again: once a session.
 * Not for a poller, who is back all the time, and gets them in their turns.
 */
void redelivery_ask(const struct subscription *sub);
