/*
 * live_connection - the kind of the live-health endpoints (spec section 6): one authenticated connection, its subscriptions as
 * it wants them, and what its client says.
 *
 *	established -> authenticate -> admit (database) -> presence -> own stream -> authenticated
 *	subscribe -> authorizer -> subscribed, what was missed, and then what comes
 *	anything else that touches data -> tidings.act() -> its answer
 *
 * What comes before `authenticated` has been said waits: a client need not wait for it.
 *
 * Layer    ws.
 */
#pragma once

#include "base/defs.h"
#include "ws/session/kind.h"

struct endpoint;

extern const struct session_kind kind_live;

/* The endpoint of "/ws/health", …; NULL: none. Lent: static. */
const struct endpoint *live_endpoint(struct span path);
