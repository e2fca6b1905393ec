/*
 * heartbeat - what happens by itself: deadlines, a heartbeat every four seconds, the outbox's relay when something is due,
 * a sweep of the queue once a minute; and what has to be done when the database comes back: where users need accounts
 * (TIDINGS_REQUIRE_USER), asking for those of the users who are here, as with each heartbeat while nothing is heard.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"

enum err pulse_new(struct pulse **p, struct node *n) MUST_CHECK;
void pulse_free(struct pulse **p);

/* The connection of heartbeats has come back or gone. */
void pulse_database_up(struct pulse *p);
void pulse_database_down(struct pulse *p);

/* The connection of fetches has come back: it is compared with what is known of the topics, then fetching goes on. */
void pulse_fetches_up(struct pulse *p);

/* The listener listens: what was rung before may have been missed. */
void pulse_listening(struct pulse *p);

/* The outbox has something. */
void pulse_relay(struct pulse *p);

/* One line in the log: what this node has done. */
void pulse_log_counters(const struct pulse *p);
