/*
 * health - GET /health, /health/live and /health/ready on the sidecar's own port and path (spec section 9).
 *
 *	live	the program answers
 *	ready	all that a client could ask for works: the same as /health here
 *
 * Nobody who asks is made to wait: the database is asked with each heartbeat, and what it has said lately is told.
 *
 * Layer    ws.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "domain/http/request_head.h"
#include "ws/loop/requester.h"
#include "ws/node.h"

struct node_health; /* opaque */

/*
 *	n	borrowed, for as long as it lives
 */
enum err health_new(struct node_health **h, struct node *n) MUST_CHECK;
void health_free(struct node_health **h);

/* Asks the database; not while it is being asked. */
void health_ask(struct node_health *h);

/* The first check that is not healthy, by its name: lent, for ever. NULL: ready. */
const char *health_fault(const struct node_health *h);

/* True: this is a request for one of these, and is answered; the requester is no more, or lingers. */
bool health_serve(struct requester *r, const struct request_head *head);
