/*
 * gate - asks the database whether sessions may have their topics: as many as have gathered, in one call.
 *
 * Layer    ws.
 */
#pragma once

#include "store/sidecar/sql_attach.h"
#include "ws/node.h"
#include "ws/session.h"

/*
 *	attached	called for each subscription that is let in
 *	refused		for the others: ERR_FORBIDDEN, ERR_NOT_FOUND, or the database did not answer
 */
enum err gate_new(struct gate **g, struct node *n,
		  void (*attached)(struct subscription *sub, const struct attach_row *row),
		  void (*refused)(struct subscription *sub, enum err why)) MUST_CHECK;
void gate_free(struct gate **g);

/* The database is there: for the question, and for the messages of who is let in. */
bool gate_can_ask(const struct gate *g);

/* Answers later. */
void gate_ask(struct gate *g, struct subscription *sub);
