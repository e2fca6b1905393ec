/*
 * calls - what a sidecar asks the database: one function here for one in sql/code/40_nodes.sql and 10_topics.sql.
 *
 * All go through the pipeline; each answers once, later, with OK and its rows or with an error and none. Until then the
 * caller keeps what `context` points to.
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "domain/cursor.h"
#include "domain/tail.h"
#include "store/acts.h"
#include "store/pipeline.h"

/* ---- attach: may they subscribe, and where is the topic? Those who may are written down, as by calls_flush() */

struct attach_item {
	const char *user_id;				      /* borrowed; NULL: anonymous */
	const char *role;				      /* borrowed */
	const char *topic;				      /* borrowed */
	const char *connection_id, *transport, *connected_at; /* borrowed; NULL: it is written down already */
};

struct attach_call {
	const char *node_id;
	int64_t opened_ever; /* connections since the node's start */
	bool require_user;   /* refuse users who are not in tidings.app_user, or not active */
};

struct attach_row {
	enum err outcome; /* OK, ERR_FORBIDDEN, ERR_NOT_FOUND, ERR_BUSY; the rest is for OK only */
	int64_t topic_id;
	char epoch[EPOCH_MAX + 1];
	uint64_t last_seq;
	uint64_t first_seq;
	uint64_t delivered_seq;
	bool unsent;  /* messages for this user alone wait, up to delivered_seq */
	bool counted; /* it is written down: a connection, and one client more of the topic */
};

/* rows: lent; as many as items, in their order; NULL on error */
typedef void (*attach_answer)(void *context, enum err e, const struct attach_row *rows, size_t count);

enum err calls_attach(struct pipeline *p, const struct attach_call *c, const struct attach_item *items, size_t count,
		      attach_answer answer, void *context) MUST_CHECK;

/* ---- fetch: what comes after a seq, for several topics at once */

struct fetch_row {
	int64_t topic_id;
	struct stored_message message; /* lent; expires_ms is on clock_monotonic_ms() */
	bool revocation;  /* message.to_user (ws/upkeep/orders.h) may not have the topic any more; it has no body */
	bool other_epoch; /* no message: the topic's epoch is not the one asked for, or it is gone. Its only row */
};

/* rows: lent; by topic in the order asked, then by seq */
typedef void (*fetch_answer)(void *context, enum err e, const struct fetch_row *rows, size_t count);

/*
 * Of each topic at most rows_max messages and, its first aside, bytes_max bytes.
 *
 *	topic_ids, after, epochs	parallel arrays, read until calls_fetch() returns
 */
enum err calls_fetch(struct pipeline *p, const int64_t *topic_ids, const int64_t *after, const char *const *epochs,
		     size_t count, int64_t rows_max, int64_t bytes_max, fetch_answer answer, void *context) MUST_CHECK;

/* Messages for one user alone that they have not been sent: after one seq and up to another. */
struct unsent {
	int64_t topic_id;
	const char *user_id; /* borrowed until calls_unsent() returns */
	uint64_t after, up_to;
};

enum err calls_unsent(struct pipeline *p, const struct unsent *u, int64_t rows_max, int64_t bytes_max,
		      fetch_answer answer, void *context) MUST_CHECK;

/* ---- flush: whatever a node has to write down */

struct flush {
	/* parallel arrays, read until calls_flush() returns */
	int64_t *presence_topics, *presence_clients;
	size_t presence_count;
	const char **opened_ids, **opened_users, **opened_transports, **opened_at;
	int64_t *opened_topics;
	size_t opened_count;
	const char **closed_ids;
	int64_t *closed_topics;
	size_t closed_count;
	int64_t *delivered_topics, *delivered_seqs;
	const char **delivered_epochs;
	size_t delivered_count;
	int64_t *sent_topics, *sent_seqs;
	const char **sent_epochs;
	size_t sent_count;
	int64_t opened_ever; /* connections since the node's start */
};

/* May be NULL where nobody wants to know. */
typedef void (*plain_answer)(void *context, enum err e);

enum err calls_flush(struct pipeline *p, const char *node_id, const struct flush *f, plain_answer answer,
		     void *context) MUST_CHECK;

/* ---- how the database is: is its schema what this build is for, and is what is due relayed? */

typedef void (*state_answer)(void *context, enum err e, bool schema_fits, bool relay_moves);

enum err calls_state(struct pipeline *p, state_answer answer, void *context) MUST_CHECK;

/* ---- heartbeat: this node lives; which of its topics have moved? */

/* What the node knows of its topics: parallel arrays, read until the call returns. */
struct known_topics {
	int64_t *ids, *last_seqs;
	const char **epochs;
	size_t count;
};

struct heartbeat {
	const char *node_id;
	const char *started_at; /* RFC 3339 */
	int64_t connections, opened;
	const struct known_topics *topics;
};

struct moved_row {
	int64_t topic_id; /* 0: the node was not known, and has to write everything anew */
	int64_t last_seq;
	const char *epoch; /* lent; NULL: the topic is gone */
};

typedef void (*heartbeat_answer)(void *context, enum err e, const struct moved_row *rows, size_t count);

enum err calls_heartbeat(struct pipeline *p, const struct heartbeat *h, heartbeat_answer answer,
			 void *context) MUST_CHECK;

/* The comparison alone, of nobody's heartbeat. */
enum err calls_moved(struct pipeline *p, const struct known_topics *topics, heartbeat_answer answer,
		     void *context) MUST_CHECK;

/* ---- live health */

/* A connection to a live endpoint, with a token that was good. All of it is borrowed until calls_admit() returns. */
struct admission {
	const char *node_id, *user_id, *connection_id, *transport, *connected_at;
	bool require_user; /* who is not in tidings.app_user, or not active, is refused */
	int64_t connections_max;
};

/* May it come in? Once it may, the database has written it down. ERR_UNAUTHORIZED: no such user. ERR_LIMIT: too many.
 */
typedef void (*admit_answer)(void *context, enum err e);

enum err calls_admit(struct pipeline *p, const struct admission *a, admit_answer answer, void *context) MUST_CHECK;

struct act_row {
	enum err outcome;   /* OK, ERR_FORBIDDEN, ERR_NOT_FOUND, ERR_INPUT */
	const char *detail; /* lent; a sentence for the client; NULL: none */
	const char *reply;  /* lent; the whole message; NULL unless OK */
	int64_t size;	    /* act_cost() */
};

/* row: lent; NULL on error */
typedef void (*act_answer)(void *context, enum err e, const struct act_row *row);

/* What `a` points to is borrowed until calls_act() returns. */
enum err calls_act(struct pipeline *p, const struct act *a, act_answer answer, void *context) MUST_CHECK;

/* How many. */
typedef void (*redeliver_answer)(void *context, enum err e, int64_t count);

/* This user is back, and wants their notifications: the critical ones that are not acked go again. */
enum err calls_redeliver(struct pipeline *p, const char *user_id, redeliver_answer answer, void *context) MUST_CHECK;

/* Which of these users are not in tidings.app_user, or not active. */
typedef void (*accounts_answer)(void *context, enum err e, const char *const *withdrawn, size_t count); /* lent */

/* What `user_ids` points to is borrowed until calls_accounts() returns. */
enum err calls_accounts(struct pipeline *p, const char *const *user_ids, size_t count, accounts_answer answer,
			void *context) MUST_CHECK;

/* What this node knows of a connection that somebody asks about. Parallel arrays, borrowed. */
enum err calls_report(struct pipeline *p, const char *node_id, const char *connection_id, const char *last_activity,
		      const char *state) MUST_CHECK;

/* ---- the rest */

/* next_ms: in how many ms the next is due; 0: at once; -1: another node is at it; INT64_MAX: nothing waits */
typedef void (*relay_answer)(void *context, enum err e, int64_t next_ms);

enum err calls_relay(struct pipeline *p, int64_t queue_max, int64_t queue_min_age_s, relay_answer answer,
		     void *context) MUST_CHECK;

/* last_id: go on after it; -1: that was the end, or another node is at it */
typedef void (*sweep_answer)(void *context, enum err e, int64_t last_id);

/* after_id: go on after it; -1: begin, when it is this node's turn */
enum err calls_sweep(struct pipeline *p, int64_t after_id, int64_t queue_max, int64_t queue_min_age_s,
		     int64_t queue_ttl_s, int64_t keep_topics_s, sweep_answer answer, void *context) MUST_CHECK;

enum err calls_farewell(struct pipeline *p, const char *node_id, plain_answer answer, void *context) MUST_CHECK;
