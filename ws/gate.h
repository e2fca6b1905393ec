/*
 * gate - asks the database whether sessions may have their topics: as many as have gathered, in one call.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"
#include "ws/session.h"

enum err gate_new(struct gate **g, struct node *n) MUST_CHECK;
void gate_free(struct gate **g);

/* session_attached() or session_close() is called later. */
void gate_ask(struct gate *g, struct session *s);
