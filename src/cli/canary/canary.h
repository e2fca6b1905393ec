/*
 * canary - one message on its way: what it is told by, and what has become of it.
 *
 * Layer    cli.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "cli/client/exchange.h"
#include "cli/client/websocket_client.h"

#define CANARY_NONCE_BYTES 16

struct canary {
	const char *url, *topic; /* borrowed */
	int64_t timeout_s;
	struct buf service, listener;		/* owned: tokens */
	struct buf sent;			/* owned: the data, as published */
	char nonce[2 * CANARY_NONCE_BYTES + 1]; /* of this transport's message */
	struct websocket_client *websocket;	/* owned: the transport's own, and the next two */
	struct exchange *exchange;
	struct buf cursor; /* of the next poll */
	struct buf problem;
};

/* One way to listen. Each is OK, or says in c->problem why not. */
struct listening {
	const char *name;
	enum err (*open)(struct canary *c, int64_t until_ms); /* whatever is published from now on comes */
	enum err (*hear)(struct canary *c, int64_t until_ms, struct buf *text); /* until the nonce is in the text */
};

/* One for each transport. */
#define CANARY_WAYS 3
extern const struct listening canary_ways[CANARY_WAYS];

/* Keeps what failed, and why: c->problem. Returns `e`. */
enum err canary_fail(struct canary *c, enum err e, const char *what, const char *why);

/* Runs an exchange; any status but 200 is a failure. */
enum err canary_run(struct canary *c, struct exchange *x, enum exchange_point point, int64_t until_ms,
		    const char *what) MUST_CHECK;
