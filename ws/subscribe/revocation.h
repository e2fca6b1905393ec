/*
 * revocation - users may not have a topic any more: their subscriptions to it end at a place in its order, the seq of a message
 * that says so. What came before it is still theirs.
 *
 *	announced	the seq is known, by a notification: from now on nothing that is in no queue is theirs
 *	come		the message itself has been fetched: it ends them
 *
 * Layer    ws.
 */
#pragma once

#include <stdint.h>

#include "ws/node.h"

/*
 * The message `seq` will end the subscriptions of this user to the topic, or has.
 *
 *	user_id	"": whoever has no token; NULL: everybody
 */
void revocation_announce(struct node *n, struct hub_topic *t, const char *user_id, uint64_t seq);

/*
 * It is here: what is before it is written, then the subscriptions end, by their kind's revoked() or with their session. The
 * topic's last holder may go. With everybody (NULL), users come again: some may have it still.
 */
void revocation_come(struct node *n, struct hub_topic *t, const char *user_id, uint64_t seq);

/* This user's connections are told to come again, once what is announced has ended. */
void revocation_reconnect(struct node *n, const char *user_id);

/* Nothing is kept about this user any more: their connections end, whatever is announced. */
void revocation_forget(struct node *n, const char *user_id);
