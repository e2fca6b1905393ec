/*
 * accounts - asks the database which of the users who are connected have no active account any more
 * (TIDINGS_REQUIRE_USER), and has those reconnect.
 *
 * A notification tells of an account that was switched off. So the question is for when one may have been missed: each time
 * that a connection to the database, or the listener's, comes up, and with each heartbeat while the listener is deaf.
 *
 * Layer    ws.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"

struct node;
struct accounts; /* opaque */

enum err accounts_new(struct accounts **a, struct node *n) MUST_CHECK;
void accounts_free(struct accounts **a);

/* A notification may have been missed. Where the database cannot be asked now, accounts_check() asks later. */
void accounts_ask(struct accounts *a);

/* With each heartbeat. */
void accounts_check(struct accounts *a);
