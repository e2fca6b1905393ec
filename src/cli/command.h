/*
 * command - the verbs of `tidings`, one file each, and what they share.
 *
 * Each is given what it was called with (arguments.h), prints to stdout, complains in one sentence on stderr, and returns
 * what main() shall.
 *
 * Layer    cli.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"
#include "base/process/config.h"
#include "cli/arguments.h"
#include "cli/complaint.h"
#include "domain/caller/token.h"
#include "store/blocking/db.h"

/* Exit statuses, as tidings(1) has them. */
enum {
	EXIT_DONE,
	EXIT_FAILED,	/* not done, or something is wrong */
	EXIT_WRONG,	/* called wrongly, or a wrong configuration */
	EXIT_HIDDEN,	/* nothing is wrong, but not everything could be looked at */
	EXIT_AWAY,	/* the database, or the server, is away or too busy: nothing was done */
	EXIT_UNKNOWN,	/* the answer was lost: it may have been done */
	EXIT_NOT_FOUND, /* there is no such thing */
};

int publish_command(const struct arguments *a);
int tail_command(const struct arguments *a);
int status_command(const struct arguments *a);
int topics_command(const struct arguments *a);
int connections_command(const struct arguments *a);
int disconnect_command(const struct arguments *a);
int reconnect_command(const struct arguments *a);
int revoke_command(const struct arguments *a);
int outbox_list_command(const struct arguments *a);
int outbox_retry_command(const struct arguments *a);
int outbox_drop_command(const struct arguments *a);
int forget_command(const struct arguments *a);
int keys_new_command(const struct arguments *a);
int keys_list_command(const struct arguments *a);
int keys_check_command(const struct arguments *a);
int keys_fetch_command(const struct arguments *a);
int token_command(const struct arguments *a);
int migrate_command(const struct arguments *a);
int epoch_renew_command(const struct arguments *a);
int epoch_timeline_command(const struct arguments *a);
int doctor_command(const struct arguments *a);
int canary_command(const struct arguments *a);

/* Whom the database takes the command for, where an act has a caller: who may start it may do all that it does. */
#define COMMAND_USER "tidings"

/* The environment, or a line for each problem on stderr and exit 2. */
void read_config(struct config *c);

/* Complains of what the database, NULL where there is none, or else `e` says. The exit status. */
int command_failed(const struct db *db, enum err e);

/*
 * Reads the configuration and logs in.
 *
 *	role	whom TIDINGS_DATABASE's login is for, where it names no user; NULL: who migrates
 *	name	borrowed, for good: what the server's activity calls this
 *	db	out: taken, also when not OK
 *
 * EXIT_DONE; else it has complained
 */
int command_connect(struct config *c, struct db **db, const char *role, const char *name) MUST_CHECK;

/* The same for a statement that may take longer than those of programs: a minute at least. */
int command_connect_patiently(struct config *c, struct db **db, const char *role, const char *name) MUST_CHECK;

/* All of a file, or of stdin: "-". ERR_TOO_LARGE, ERR_SYSTEM: it has complained */
enum err command_read_input(const char *path, size_t bytes_max, struct buf *out) MUST_CHECK;
