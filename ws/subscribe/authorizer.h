/*
 * authorizer - asks the database whether sessions may have their topics: as many as have gathered, in one call. Those that may are
 * written down by it, too, and get the first page of what they missed from its answer (backfill_lend()). A session's topics are not
 * divided among calls: it is welcomed when the last of them is there, and by then pages of a call before are gone.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"
#include "ws/session/session.h"

enum err authorizer_new(struct authorizer **a, struct node *n) MUST_CHECK;
void authorizer_free(struct authorizer **a);

/* The database is there: for the question, and for the messages of who is let in. */
bool authorizer_can_ask(const struct authorizer *a);

/* Answers later: by STEP_ALLOWED, or by its kind's refused(). Of one subscription, or of all that the session has. */
void authorizer_ask(struct authorizer *a, struct subscription *sub);
void authorizer_ask_all(struct authorizer *a, struct session *s);
