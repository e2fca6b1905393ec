/*
 * acceptor - accepts connections on the node's ports (port.h), and reads their requests.
 *
 *	accepted -> a requester -> router: a session, or a refusal
 *	a poll's reply is out -> a requester again, for the next request
 *
 * Two shares of sockets: TIDINGS_CONNECTIONS_MAX for sessions and for requesters between two polls, 1,024 for sockets that have
 * not been served yet. A share that is not used up is the other's to use. Where both are used up, a new connection takes the place
 * of the oldest requester of the share that has too many.
 *
 * Layer    ws.
 * Memory   at most TIDINGS_CONNECTIONS_MAX + 1,536 sockets, sessions included; incomplete heads of requests: at most 1,024, and
 *          8 MiB of them, in node.budget.
 */
#pragma once

#include "ws/node.h"

/*
 * Binds the port, and the path if there is one; who comes waits in the kernel until acceptor_open_if_complete().
 *
 * ERR_SYSTEM  it is taken, or not allowed: logged
 */
enum err acceptor_new(struct acceptor **a, struct node *n) MUST_CHECK;
void acceptor_free(struct acceptor **a);

/*
 * Clients are let in when all that they may ask for can be done, and when an order about them would be heard: this is called
 * when a part of that may be so. After DATABASE_WAIT_MS they are let in to be told that the database is away.
 */
void acceptor_open_if_complete(struct acceptor *a);

/* No new connections from now on. */
void acceptor_shut(struct acceptor *a);

/* Now and then: who takes too long is sent away. */
void acceptor_check(struct acceptor *a, int64_t now_ms);
