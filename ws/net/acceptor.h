/*
 * acceptor - where the sidecar listens (listening.h): accepts sockets, and has their requests read.
 *
 *	accepted -> a requester -> router: a session, or a refusal
 *
 * A poll's socket comes back here with each reply, to wait for the next request: TIDINGS_CONNECTIONS_MAX of them have a
 * place here or as a session, and 1,024 sockets that have not been served yet have theirs. Where one side leaves places
 * free, the other may have them; beyond, the longest here of those who have too many is closed for one who comes.
 *
 * Layer    ws.
 * Memory   at most TIDINGS_CONNECTIONS_MAX + 1,536 sockets, sessions included; heads that have come in part: at most
 * 1,024, and 8 MiB of them, in node.budget.
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
