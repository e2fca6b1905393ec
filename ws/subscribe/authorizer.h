/*
 * authorizer - asks the database whether sessions may have their topics: as many as have gathered, in one call. Those that may are
 * written down by it, too.
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

/* Answers later: by STEP_ALLOWED, or by its kind's refused(). */
void authorizer_ask(struct authorizer *a, struct subscription *sub);
