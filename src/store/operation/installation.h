/*
 * installation - what is wrong with a server, its roles and its database, in sentences that say what to do.
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/blocking/db.h"

/* A server has to have so many connections free: those of one machine's web server and sidecar, when many requests come at once. */
#define INSTALLATION_CONNECTIONS 40

/*
 *	about	"server", "roles" or "cluster"
 *	note	it is worth knowing, and no fault
 */
typedef void installation_problem(void *context, const char *about, const char *problem, bool note);

/*
 * Settings of the server, the four roles and their rights, other installations in the same cluster: of what any login sees.
 *
 *	found	called for each thing
 */
enum err installation_examine(struct db *db, installation_problem *found, void *context) MUST_CHECK;

/*
 * Whether the schema is what this build is for.
 *
 *	db	logged in as a role of tidings, or as who migrates
 */
enum err installation_schema_fits(struct db *db, bool *fits) MUST_CHECK;

/* The server's clock, in ms since 1970. */
enum err installation_clock(struct db *db, int64_t *now_ms) MUST_CHECK;

struct installation_work {
	int64_t nodes;	  /* sidecars that live */
	int64_t due;	  /* messages that are to be relayed */
	int64_t oldest_s; /* for how long the oldest of them is due */
	int64_t failed;	  /* messages that were given up */
	bool stuck;	  /* nobody relays */
};

/*	db	logged in as tidings_status; so below */
enum err installation_work(struct db *db, struct installation_work *work) MUST_CHECK;

/*
 * Commits, as a publisher would, what leaves nothing behind.
 *
 * ERR_UNKNOWN  the commit is not confirmed: a standby that it waits for is missing
 * ERR_AWAY, ERR_DATABASE  it is refused: a full disk, a server that is read-only
 */
enum err installation_commits(struct db *db) MUST_CHECK;

/*
 * Whether a notification comes.
 *
 *	listener	logged in as tidings_sidecar
 *	publisher	logged in as tidings_publisher: notifies the sidecars of nothing that is about them
 *
 * ERR_NOT_FOUND  it did not come
 */
enum err installation_hears(struct db *listener, struct db *publisher, int64_t wait_ms) MUST_CHECK;
