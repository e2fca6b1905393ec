/*
 * sql_node - what a node tells the database of itself, and asks about its topics (sql/code/40_nodes.sql).
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

/* ---- flush: whatever a node has to write down */

struct flush {
	/* parallel arrays, read until sql_flush() returns */
	int64_t *presence_topics, *presence_clients;
	size_t presence_count;
	const char **opened_ids, **opened_users, **opened_transports, **opened_at;
	int64_t *opened_topics;
	size_t opened_count;
	const char **closed_ids;
	int64_t *closed_topics;
	size_t closed_count;
	int64_t *delivered_topics, *delivered_seqs, *confirmed_seqs;
	const char **delivered_epochs;
	size_t delivered_count;
	int64_t *sent_topics, *sent_seqs;
	const char **sent_epochs;
	size_t sent_count;
	const char **device_users, **device_names, **device_topics, **device_epochs;
	int64_t *device_seqs;
	size_t devices_count;
	int64_t opened_ever; /* connections since the node's start */
};

/* May be NULL where nobody wants to know. */
typedef void (*plain_answer)(void *context, enum err e);

enum err sql_flush(struct pipeline *p, const char *node_id, const struct flush *f, plain_answer answer,
		   void *context) MUST_CHECK;

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
	bool draining;
	int64_t presence_grace_ms; /* -1: who is on a topic is not kept */
};

struct moved_row {
	int64_t topic_id; /* 0: the node was not known, and has to write everything anew */
	int64_t last_seq;
	const char *epoch; /* lent; NULL: the topic is gone */
};

typedef void (*heartbeat_answer)(void *context, enum err e, const struct moved_row *rows, size_t count);

enum err sql_heartbeat(struct pipeline *p, const struct heartbeat *h, heartbeat_answer answer,
		       void *context) MUST_CHECK;

/* The comparison alone, of nobody's heartbeat. */
enum err sql_moved(struct pipeline *p, const struct known_topics *topics, heartbeat_answer answer,
		   void *context) MUST_CHECK;

/* What this node knows of connections that somebody asks about. Parallel arrays, read until sql_report() returns. */
struct connection_reports {
	const char **ids, **last_activities, **states;
	int64_t *lags, *waiting_bytes;
	size_t count; /* 0: it has none of them */
};

enum err sql_report(struct pipeline *p, const char *node_id, const struct connection_reports *r) MUST_CHECK;

/* Nothing, on that channel, for whoever listens. */
enum err sql_notify(struct pipeline *p, const char *channel, plain_answer answer, void *context) MUST_CHECK;

enum err sql_farewell(struct pipeline *p, const char *node_id, plain_answer answer, void *context) MUST_CHECK;
