/*
 * ledger - writes down who is connected and what was delivered.
 *
 * What has changed is gathered and written in one call. A subscription that is new is written at once,
 * because it is told that it is connected only when whoever publishes counts it; the rest at most every 100 ms. An idle
 * node writes nothing.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"
#include "ws/session.h"

/* counted	called for each subscription once it is written down */
enum err ledger_new(struct ledger **l, struct node *n, void (*counted)(struct subscription *sub)) MUST_CHECK;
void ledger_free(struct ledger **l);

void ledger_opened(struct ledger *l, struct subscription *sub);
void ledger_closed(struct ledger *l, struct subscription *sub); /* does nothing where it is not written down */

/* It was written down by another call, and is gone. */
void ledger_erase(struct ledger *l, const struct subscription *sub);

void ledger_delivered(struct ledger *l, const struct hub_topic *t);
void ledger_sent(struct ledger *l, const struct hub_topic *t, uint64_t seq);

/* The database is away: what was not written will be written anew; who waits to be counted is to come again. */
void ledger_lost(struct ledger *l);

/* The database knows nothing of this node: everything again. */
void ledger_renew(struct ledger *l);

/* The database did not take what was written last: nobody is let in. */
bool ledger_is_refused(const struct ledger *l);

/* Writes what there is, now. */
void ledger_flush(struct ledger *l);
