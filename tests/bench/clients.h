/*
 * clients - many WebSocket clients in one process.
 *
 * Each does what a browser on a diagnosis does: upgrade, wait for the `connect` message, then take what comes, answer
 * pings. And each is suspicious: its seqs must be dense and in order from the first broadcast that it gets, or the
 * program ends. Clients go to the diagnoses 1 … topics in turn.
 *
 * A broadcast is a message with a `seq` that is not in a `reconnect_messages` list.
 *
 * Layer    tests.
 * Memory   an idle client costs about 100 bytes here; what is half received is kept aside.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

struct clients; /* opaque */

struct clients_plan {
	const char *host;  /* borrowed, as the others, for as long as the clients live */
	const char *token; /* NULL: none */
	int port;
	unsigned count;
	unsigned topics;   /* diagnoses 1 … topics */
	unsigned parallel; /* handshakes under way at a time */

	/* A broadcast came; number is its feedback_id, -1 when it has none. */
	void (*received)(void *context, int64_t number);
	void *context;
};

struct clients_figures {
	unsigned ready;	   /* got their connect message and are still open */
	unsigned lost;	   /* closed by the server after that */
	/* Since the start or clients_run(): */
	uint64_t received; /* broadcasts, over all clients */
	uint64_t bytes;	   /* of the broadcasts' frames, headers included */
	uint64_t reads;	   /* read(2) calls that gave something */
	int64_t first_ns;  /* when the first and the last broadcast came; 0: none */
	int64_t last_ns;
};

/* Begins to connect; the loop does the rest. */
struct clients *clients_new(int loop, const struct clients_plan *plan);

/* How many clients listen to the diagnosis `topic` (1 …). */
unsigned clients_of_topic(const struct clients *c, unsigned topic);

/* Counts from zero again. */
void clients_run(struct clients *c);

const struct clients_figures *clients_figures(const struct clients *c); /* lent */

/* Every client's first and last broadcast are those of every other one of its topic; else die(). */
void clients_check_equal(const struct clients *c);

void clients_free(struct clients **c);
