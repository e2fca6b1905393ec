/*
 * subscribe - a subscription's way, from the question whether it may have its topic to live messages, and back.
 *
 *	subscription_step() (declared in session/subscription.h) is the one switch that moves a subscription on. Who has done
 *	something for it says so there:
 *
 *					   ATTACHING: arrival or subscribe_request has it asked for (authorizer_ask())
 *	ALLOWED	  authorizer		-> COUNTED, where the same call has written it down; else
 *					-> COUNTING: presence writes it down
 *	ADMITTED  live_admission	-> COUNTING
 *	WRITTEN	  presence		-> COUNTED: it is welcomed with the others of its session
 *	RETURNED  parked_polls		-> ATTACHING: it was parked
 *	RESUMED	  poll			-> COUNTED: nobody has to be asked
 *	WELCOMED  subscribe, live_connection	-> CATCHING: backfill gives it what it missed
 *	CAUGHT_UP backfill		-> CAUGHT_UP: its kind waits for the others, or
 *	JOINED	  poll, subscribe	-> LIVE: the hub writes to it
 *	BEHIND	  the hub		-> CATCHING
 *
 * Here are, too, what the hub asks of subscriptions, and what a session does when its socket takes bytes, and when it is gone.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>

#include "domain/fanout/hub.h"
#include "ws/session/session.h"

/* What the hub asks of subscriptions, and tells; its context is the node. */
extern const struct hub_ops subscribe_hub_ops;

/* All subscriptions of a session are counted: its client is told that it is connected, and gets what it missed. */
void subscribe_welcome(struct session *s);

/* The socket takes bytes again. True: the last of them has left, and the session is over. */
bool subscribe_writable(struct session *s);

/*
 * The socket is gone, or serves another request.
 *
 *	kept	its client is expected back, and stays connected so long
 */
void subscribe_end(struct session *s, bool kept);
