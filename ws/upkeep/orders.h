/*
 * orders - what somebody who manages connections wants of this node, told by a notification (spec 3.4); and what
 * follows when a user may not have a topic any more.
 *
 *	disconnect <connection id>	it is closed; that its row goes confirms it
 *	revoke <topic id> <seq> <user id>	the message with that seq will end this user's subscriptions; without a user:
 *					of those who have no token
 *	revoke_all <topic id> <seq>	it will end everybody's
 *	reconnect <user id>		that user's connections are told to come back; once what is revoked has ended
 *	report <connection id>		what this node knows of it is written down
 *
 * Layer    ws.
 */
#pragma once

#include <stdint.h>

#include "ws/node.h"

void orders_carry_out(struct node *n, const char *order);

/* As the order. */
void orders_reconnect_user(struct node *n, const char *user_id);

/*
 * From `seq` on this user may not have the topic: whatever subscriptions they have to it here end.
 *
 *	user_id	"": whoever has no token; NULL: everybody, and users are told to come again: some may have it still
 */
void orders_revoke(struct node *n, struct hub_topic *t, const char *user_id, uint64_t seq);
