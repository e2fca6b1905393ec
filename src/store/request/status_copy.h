/*
 * status_copy - one thing that is read for all who ask: a row of the database, or whether the sidecar answers.
 *
 * It has a thread that reads, and a copy of what was read last. Whoever asks gets that copy where it is young enough, else
 * waits for the next one; how many ask costs nobody anything.
 *
 *	rest	nobody wants more than is here, or is being read
 *	read	it is to be read
 *	stop	the thread is to end
 *
 * Layer    store: for status alone.
 * Threads  any, but for open, start and close; what stands under the lock is read with it held.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"
#include "base/process/http_probe.h"
#include "store/blocking/db.h"
#include "store/wire/statement.h"

#define STATUS_WAIT_MS 800   /* whoever checks health gives up after 1 s */
#define STATUS_KEPT_MS 60000 /* how old what takes longer than STATUS_WAIT_MS to read may be */

#define COPY_COLUMNS_MAX 3

enum copy_order { COPY_REST, COPY_READ, COPY_STOP };

/* Made with its first members, the others 0. */
struct status_copy {
	const struct statement *statement;
	const char *parameter; /* of the statement; NULL: it has none */
	int64_t age_max_ms;
	bool slow;		    /* where it takes longer than STATUS_WAIT_MS it may be older */
	const char *works, *fails;  /* for the log; NULL: it is told already */
	struct db *db;		    /* owned: the thread's; NULL: asks the sidecar */
	struct http_probe *sidecar; /* borrowed: the thread's */
	bool started;
	pthread_t thread;
	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t asked, done;
	enum copy_order order;
	int64_t reading_ms; /* since when it is being read; 0: it is not */
	int64_t began_ms;   /* when the reading of what is here began; 0: nothing was read yet */
	int64_t began_us;   /* the same, since 1970 */
	int64_t took_ms;    /* to read it */
	enum err outcome;
	bool ready;			      /* of the sidecar: it says so */
	struct buf columns[COPY_COLUMNS_MAX]; /* owned: the row, when the outcome is OK */
};

/*
 * Connects it, as tidings_status, and starts its thread.
 *
 *	application_name	borrowed, for good
 *	like			of whose servers it knows what that one finds out; NULL: it finds out by itself
 *
 * ERR_CONFIG  TIDINGS_DATABASE is malformed
 * ERR_MEMORY
 */
enum err status_copy_open(struct status_copy *c, const struct config *config, const char *application_name,
			  const struct status_copy *like) MUST_CHECK;

/* The same for the sidecar. ERR_MEMORY */
enum err status_copy_start(struct status_copy *c) MUST_CHECK;

/* Also of one that is 0, or could not be opened. Waits for what is being read. */
void status_copy_close(struct status_copy *c);

/* So that it is read while others are waited for. */
void status_copy_ask(struct status_copy *c, int64_t asked_ms);

/* ---- under the lock */

/*
 * Until what is here may be given away: its outcome.
 *
 * ERR_AWAY  not within STATUS_WAIT_MS, since it was asked for or, where that was before, it is being read
 */
enum err status_copy_wait(struct status_copy *c, int64_t asked_ms) MUST_CHECK;

/* The same; where it is not there in time, what was read before, as long as that is no older than STATUS_KEPT_MS. */
enum err status_copy_wait_or_keep(struct status_copy *c, int64_t asked_ms) MUST_CHECK;

/* Of a boolean of the row. */
bool status_copy_is_true(const struct status_copy *c, int column);

/* Whether the last reading went well; of the database, and its first column is true. */
bool status_copy_is_working(const struct status_copy *c);
