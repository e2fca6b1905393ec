/*
 * gate - asks the database whether sessions may have their topics: as many as have gathered, in one call.
 *
 * Layer    ws.
 */
#pragma once

#include "store/calls.h"
#include "ws/node.h"
#include "ws/session.h"

/* attached	called for each session that is let in; the others are closed */
enum err gate_new(struct gate **g, struct node *n,
		  void (*attached)(struct session *s, const struct attach_row *row)) MUST_CHECK;
void gate_free(struct gate **g);

/* Answers later. */
void gate_ask(struct gate *g, struct session *s);
