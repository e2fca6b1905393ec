/*
 * clients - many clients in one process, all WebSockets, all event streams or all polls.
 *
 * Each does what a browser on a diagnosis does: connect, wait to be greeted, then take what comes; answer pings; poll
 * again from the cursor of the last reply, on the same connection while the server keeps it. And each is suspicious:
 * its seqs must be dense and in order from its cursor on, or the program ends. Clients go to the diagnoses 1 … topics
 * in turn.
 *
 * All connections can be cut and made again, each with its client's cursor: what was missed then counts as what comes.
 *
 * Layer    tests.
 * Memory   an idle client costs about 250 bytes here; what is half received is kept aside.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "tests/bench/wire.h"

struct clients; /* opaque */

struct clients_plan {
	enum wire_kind kind;
	const char *host;    /* borrowed, as the others, for as long as the clients live */
	const char *token;   /* NULL: none */
	char *const *tokens; /* one for each client, instead of token; NULL: none */
	bool deflate;
	bool device; /* each says that it is a phone */
	int port;
	unsigned count;
	unsigned topics;   /* diagnoses 1 … topics */
	unsigned parallel; /* of those that connect for the first time, so many at a time */

	/* A broadcast came; number is its feedback_id, -1 when it has none. */
	void (*received)(void *context, int64_t number);
	void *context;
};

struct clients_figures {
	unsigned ready; /* greeted and still there */
	unsigned lost;	/* closed by the server after that */
	/* Since clients_run() or clients_resume(): */
	uint64_t received; /* broadcasts, over all clients */
	uint64_t bytes;	   /* of the broadcasts, with what is around each of them */
	uint64_t reads;	   /* read(2) calls that gave something */
	uint64_t answers;  /* to polls */
	uint64_t reopened; /* polls that found their connection closed, and went on with a new one */
	uint64_t refused;  /* connections that were not let in, and were made again */
	int64_t first_ns;  /* when the first and the last broadcast came; 0: none */
	int64_t last_ns;
	int64_t ready_ns; /* when the last client was greeted */
};

/* Begins to connect; the loop does the rest. */
struct clients *clients_new(int loop, const struct clients_plan *plan);

/* How many clients listen to the diagnosis `topic` (1 …). */
unsigned clients_of_topic(const struct clients *c, unsigned topic);

/* Counts from zero again; from now on what comes is told. */
void clients_run(struct clients *c);

/* Closes all connections. */
void clients_cut(struct clients *c);

/* Makes them all again at once, and counts from zero. */
void clients_resume(struct clients *c);

/* Now and then while they resume: who was not let in tries again, a moment later. */
void clients_retry(struct clients *c);

const struct clients_figures *clients_figures(const struct clients *c); /* lent */

/* Every client has got the same broadcasts, in the same order, as every other one of its topic; else die(). */
void clients_check_equal(const struct clients *c);

void clients_free(struct clients **c);
