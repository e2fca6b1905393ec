/*
 * drain - a node takes no new clients: those that are here are asked to come again elsewhere, over TIDINGS_DRAIN_TIME.
 *
 *	it goes		(a signal) then the database is told, and the loop stops
 *	it stays	(an operator's order) then it waits, with its ports closed, for the signal: whoever supervises it would start
 *			it again at once. It goes on with what nodes do for each other: the heartbeat, the relay, the sweep
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "ws/node.h"

enum drain_state {
	DRAIN_NONE,
	DRAIN_SESSIONS, /* they are closed one after the other, as time passes */
	DRAIN_EMPTY,	/* they are gone, and it stays */
	DRAIN_FAREWELL, /* the database is being told */
	DRAIN_DONE,
};

struct drain {
	struct node *node;
	uv_timer_t timer;
	enum drain_state state;
	int64_t begun_ms;
	int64_t farewell_ms;
	size_t total; /* sessions when it began */
	bool stays;
};

void drain_init(struct drain *d, struct node *n);

/* The node goes. Once; after that it does nothing. */
void drain_begin(struct drain *d);
