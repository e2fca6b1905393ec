/*
 * drain - a node goes: no new clients, those that are here are asked to come again elsewhere, over TIDINGS_DRAIN_TIME; then
 * the database is told, and the loop stops.
 *
 * Layer    ws.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "ws/node.h"

enum drain_state {
	DRAIN_NONE,
	DRAIN_SESSIONS, /* they are closed one after the other, as time passes */
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
};

void drain_init(struct drain *d, struct node *n);

/* Once; after that it does nothing. */
void drain_begin(struct drain *d);
