/*
 * parked_polls - pollers between two polls.
 *
 * A poll that was answered is over, but its client is not gone: it comes back with the next one at once. So its
 * subscriptions stay for TIDINGS_POLL_GRACE: written down as connected, so that presence does not flicker, and with
 * their topics held, so that the next poll finds what came meanwhile in the tail, and nobody has to be asked anew. The
 * next poll of the same user, in the same role, for the same topics takes over the place (the oldest, where there are
 * several).
 *
 * Layer    ws.
 * Memory   at most TIDINGS_CONNECTIONS_MAX pollers; beyond, the oldest goes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ws/node.h"
#include "ws/session/session.h"

enum err parked_polls_new(struct parked_polls **all, struct node *n) MUST_CHECK;
void parked_polls_free(struct parked_polls **all);

/* The session's reply is out: takes over its subscriptions. False: it does not (there is no grace, or no memory). */
bool parked_polls_park(struct parked_polls *all, struct session *s);

/*
 * A session that wants its topics: gives it the subscriptions, and the connection id, of a poller that was here. Without
 * memory for that the session is being closed then. False: there is none.
 */
bool parked_polls_take(struct parked_polls *all, struct session *s);

/* Now and then: who did not come back is gone. */
void parked_polls_expire(struct parked_polls *all, int64_t now_ms);

/* That connection does not come back. */
void parked_polls_end_connection(struct parked_polls *all, const struct uuid *connection_id);

/* This user (as in revocation_come()) does not come back; with a topic: not to that one. */
void parked_polls_end_user(struct parked_polls *all, const char *user_id, const struct hub_topic *topic);

/* Nobody stays for a topic whose numbering has changed. */
void parked_polls_end_stale(struct parked_polls *all);
