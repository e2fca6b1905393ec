/*
 * orders - what somebody who manages connections wants of this node, told by a notification (spec 3.4).
 *
 *	disconnect <connection id>	it is closed; that its row goes confirms it
 *	revoke <topic id> <seq> <user id>	the message with that seq will end this user's subscriptions; without a user:
 *					of those who have no token
 *	revoke_all <topic id> <seq>	it will end everybody's
 *	reconnect <user id>		that user's connections are told to come back; once what is revoked has ended
 *	forget <user id>		that user's connections end: nothing is kept about them
 *	report <connection id> …	what this node knows of them is written down
 *	rosters <topic id>,…		who is on these topics has changed
 *	report_slow			the same, of those that are given less than there is
 *	drain <node id>			this one takes no new clients, and asks those that it has to come again elsewhere
 *
 * Layer    ws.
 */
#pragma once

/*
 * As struct doorbell_ops has it. What is no order is passed over.
 *
 *	node	a struct node
 */
void orders_carry_out(void *node, const char *order);
