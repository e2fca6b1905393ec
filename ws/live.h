/*
 * live - the live-health endpoints (spec section 6): one authenticated connection, its subscriptions as it wants them,
 * and what its client says.
 *
 *	established -> authenticate -> admit (database) -> ledger -> own stream -> authenticated
 *	subscribe -> gate -> ledger -> subscribed, what was missed, and then what comes
 *	anything else that touches data -> tidings.act() -> its answer
 *
 * What comes before `authenticated` has been said waits: a client need not wait for it.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session.h"

/* The endpoint of "/ws/health", …; NULL: none. Lent: static. */
const struct endpoint *live_endpoint(struct span path);

/* A socket was upgraded. token: NULL when the request had none. */
void live_begin(struct session *s, const char *token);

/* A whole text message, within its client's rate unless it is kept. */
void live_receive(struct session *s, struct span text);

/* What comes is kept until its client is let in, and charged then. */
bool live_keeps(const struct session *s);

/* Instead of live_receive(), to a message that is over the rate. */
void live_refuse_rate(struct session *s);

/* From ledger: it is written down. From gate: it may not have the topic, or nobody knows. */
void live_counted(struct subscription *sub);
void live_refused(struct subscription *sub, enum err why);

/* It may not have the topic any more: ends that subscription. */
void live_revoke(struct subscription *sub);
