/*
 * heartbeat - tells the database that this node lives, and asks which of its topics have moved: so a lost notification costs
 * a cycle of the tick, never a message.
 *
 * Heartbeats alone decide that a topic is numbered anew (a restore, a failover): its clients reconnect, over the same time as
 * when the node goes. They are sent over node.db.queries; the topics of node.db.fetches are compared when that comes up, and where
 * the two see different epochs for long, both are made anew (agreement.h).
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

struct node;
struct heartbeat_sender; /* opaque */

enum err heartbeat_new(struct heartbeat_sender **h, struct node *n) MUST_CHECK;
void heartbeat_free(struct heartbeat_sender **h);

/* Since this cycle of the tick began (cycle_ms), or because something was not written down, or epochs differ. */
bool heartbeat_is_due(const struct heartbeat_sender *h, int64_t cycle_ms, int64_t now_ms);

/* Unless one is under way. */
void heartbeat_send(struct heartbeat_sender *h);

/* The listener has come up: a heartbeat that is under way may have looked before anything was heard. */
void heartbeat_send_anew(struct heartbeat_sender *h);

/* The connection of fetches has come up: its topics are compared with those here, then fetching goes on. */
void heartbeat_compare_fetches(struct heartbeat_sender *h);

/* Each tick: sends clients away whose topics are numbered anew, and parts connections that see different epochs. */
void heartbeat_check_epochs(struct heartbeat_sender *h);
