/*
 * fetcher - from the doorbell to the sockets: fetches what rang, appends it to the tails, and runs the fan-out in slices.
 *
 * One fetch at a time: whatever rings meanwhile goes into the next, so the busier it is, the more goes together.
 *
 * Fetches, and backfill's pages of what is for all, have a connection of their own (node.db.fetches): no other statement delays a broadcast. Their
 * answers may be newer, or older, than those on the other (node.db.queries), and for a moment the two may be to different
 * servers. So each fetch says which epochs it is for. What comes is appended where the topic was held all the time.
 * Heartbeats alone decide that a topic is numbered anew.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"

enum err fetcher_new(struct fetcher **f, struct node *n) MUST_CHECK;
void fetcher_free(struct fetcher **f);

/* The connection is up: what rang meanwhile is fetched. */
void fetcher_go_on(struct fetcher *f);

/* This topic has, or may have, something new. */
void fetcher_ring(struct fetcher *f, int64_t topic_id);

/* Somebody may have become due by other means than a fetch (joined, drained): the fan-out goes on, in slices. */
void fetcher_run(struct fetcher *f);

/*
 * What the doorbell tells, as struct doorbell_ops has it: a topic that was rung; a message that is in no queue.
 *
 *	node	a struct node
 */
void fetcher_rung(void *node, int64_t topic_id);
void fetcher_ephemeral(void *node, int64_t topic_id, const char *to_user, const struct uuid *exclude, struct span body);
