/*
 * live_act - what a request has tidings.act() do, and what came of it.
 *
 * Layer    fcgi.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "domain/input/client_message.h"
#include "fcgi/live/live_visit.h"
#include "store/request/act_run.h"

struct live_act {
	struct client_message message;
	struct buf body; /* owned: of the request */
	const char *key; /* Idempotency-Key; NULL: none */
	struct act_result result;
};

#define LIVE_ACT_NONE ((struct live_act){0})

/*
 * Ends the reading of what is to be done, with the Idempotency-Key of the request.
 *
 *	e	of the reading; with ERR_INPUT *fault says why, and is freed
 *
 * False: *res says what is wrong.
 */
bool live_act_read(struct live_visit *v, struct live_act *a, enum err e, struct client_fault *fault);

/* Does it, and charges its caller with what it cost. False: *res says why it was not done; the audit line too. */
bool live_act_carry_out(struct live_visit *v, struct live_act *a);

void live_act_free(struct live_act *a);
