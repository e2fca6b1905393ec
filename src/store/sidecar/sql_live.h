/*
 * sql_live - what live health asks the database (sql/code/60_live.sql).
 *
 * A call answers once, later, with OK and its rows or with an error and none; until then the caller keeps what `context` points
 * to. Arguments are borrowed until the call returns.
 *
 * Layer    store.
 * Threads  none: the event loop's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "store/async/pipeline.h"
#include "store/wire/act.h"

/* A connection to a live endpoint, with a token that was good. All of it is borrowed until sql_admit() returns. */
struct admission {
	const char *node_id, *user_id, *connection_id, *transport, *connected_at;
	bool require_user; /* who is not in tidings.app_user, or not active, is refused */
	int64_t connections_max;
};

/* May it come in? Once it may, the database has written it down. ERR_UNAUTHORIZED: no such user. ERR_LIMIT: too many.
 */
typedef void (*admit_answer)(void *context, enum err e);

enum err sql_admit(struct pipeline *p, const struct admission *a, admit_answer answer, void *context) MUST_CHECK;

struct act_row {
	enum err outcome;   /* of act_outcome() */
	const char *detail; /* lent; a sentence for the client; NULL: none */
	const char *reply;  /* lent; the whole message; NULL unless OK */
	int64_t size;	    /* act_cost() */
};

/* row: lent; NULL on error */
typedef void (*act_answer)(void *context, enum err e, const struct act_row *row);

/* What `a` points to is borrowed until sql_act() returns. */
enum err sql_act(struct pipeline *p, const struct act *a, act_answer answer, void *context) MUST_CHECK;

/* How many. */
typedef void (*redeliver_answer)(void *context, enum err e, int64_t count);

/* This user is back, and wants their notifications: the critical ones that are not acked go again. */
enum err sql_redeliver(struct pipeline *p, const char *user_id, redeliver_answer answer, void *context) MUST_CHECK;

/* Which of these users are not in tidings.app_user, or not active. */
typedef void (*accounts_answer)(void *context, enum err e, const char *const *withdrawn, size_t count); /* lent */

/* What `user_ids` points to is borrowed until sql_accounts() returns. */
enum err sql_accounts(struct pipeline *p, const char *const *user_ids, size_t count, accounts_answer answer,
		      void *context) MUST_CHECK;
