/*
 * status_copy - one thing that is read for all who ask for it: a row of the database, or whether the sidecar answers.
 *
 * A thread of its own reads it, when somebody asks and what is here is too old. Whoever asks waits as long as
 * STATUS_WAIT_MS, and not for what hangs since longer.
 *
 *	status_copy_open() -> status_copy_ask() -> status_copy_wait() … -> status_copy_close()
 *
 * Layer    store.
 * Threads  any.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/process/config.h"
#include "base/process/http_probe.h"
#include "store/blocking/db.h"

#define STATUS_WAIT_MS 800   /* whoever checks health gives up after 1 s */
#define STATUS_KEPT_MS 60000 /* how old what takes longer to read may be */

#define STATUS_COPY_COLUMNS_MAX 3

enum status_copy_order { COPY_REST, COPY_READ, COPY_STOP };

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
	enum status_copy_order order;
	int64_t reading_ms; /* since when it is being read; 0: it is not */
	int64_t began_ms;   /* when the reading of what is here began; 0: nothing was read yet */
	int64_t began_us;   /* the same, since 1970 */
	int64_t took_ms;    /* to read it */
	enum err outcome;
	bool ready;				     /* of the sidecar: it says so */
	struct buf columns[STATUS_COPY_COLUMNS_MAX]; /* owned: the row, when the outcome is OK */
};

/* Its thread: nothing is read before somebody asks. Whatever it returns, it is to be closed. */
enum err status_copy_start(struct status_copy *c) MUST_CHECK;

/*
 * The same, on a connection of its own as tidings_status.
 *
 *	application_name  to the server
 *	like	of whose servers it knows what that one finds out; NULL: it finds out by itself
 *
 * ERR_MEMORY, ERR_CONFIG
 */
enum err status_copy_open(struct status_copy *c, const struct config *config, const char *application_name,
			  const struct status_copy *like) MUST_CHECK;

void status_copy_close(struct status_copy *c);

/* So that it is read while others are waited for. */
void status_copy_ask(struct status_copy *c, int64_t asked_ms);

/* ---- under its lock */

/*
 * Until what is in it may be given to whoever asked then.
 *
 * ERR_AWAY  not in time; others: as reading it ended
 */
enum err status_copy_wait(struct status_copy *c, int64_t asked_ms) MUST_CHECK;

/* The same, or what was read in the last STATUS_KEPT_MS. */
enum err status_copy_wait_or_keep(struct status_copy *c, int64_t asked_ms) MUST_CHECK;

/* Of a row: that column. */
bool status_copy_is_true(const struct status_copy *c, int column);

/* It could be read, and its first column, where it has some, is true. */
bool status_copy_is_working(const struct status_copy *c);
