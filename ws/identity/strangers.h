/*
 * strangers - sessions whose clients have not said who they are (SESSION_STRANGER).
 *
 * They have an eighth of TIDINGS_CONNECTIONS_MAX, at least one place; beyond, the one that is there for the longest goes.
 * On a full node it goes for whoever brings a good token: so nobody who has none keeps out who has.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"

/* This one is to say who it is. The oldest goes where there are too many. */
void strangers_add(struct session *s);

/* Where the node is full, the oldest goes. */
void strangers_make_room(struct node *n);
