/*
 * feed - from the doorbell to the sockets: fetches what rang, appends it to the tails, and runs the fan-out in slices.
 *
 * One fetch at a time: whatever rings meanwhile goes into the next, so the busier it is, the more goes together.
 *
 * Fetches, and catch_up's pages of what is for all, have a connection of their own (node.fetches): no other statement delays a broadcast. Their
 * answers may be newer, or older, than those on the other (node.pipeline), and for a moment the two may be to different
 * servers. So each fetch says which epochs it is for. What comes is appended where the topic was held all the time.
 * Heartbeats alone decide that a topic is numbered anew.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"

enum err feed_new(struct feed **f, struct node *n) MUST_CHECK;
void feed_free(struct feed **f);

/* The connection is up: what rang meanwhile is fetched. */
void feed_go_on(struct feed *f);

/* This topic has, or may have, something new. */
void feed_ring(struct feed *f, int64_t topic_id);

/* Somebody may have become due by other means than a fetch (joined, drained): the fan-out goes on, in slices. */
void feed_run(struct feed *f);

/* A message that is in no queue. */
void feed_ephemeral(struct feed *f, int64_t topic_id, const char *to_user, const struct uuid *exclude,
		    struct span body);

uint64_t feed_fetches(const struct feed *f);
