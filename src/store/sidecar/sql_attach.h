/*
 * sql_attach - tidings.attach(): may they subscribe, and where is the topic? Those who may are written down, as by sql_flush(), and the
 * first page of what they missed comes with the answer: so they need no other statement before they are live.
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
#include "domain/topic/cursor.h"
#include "store/async/pipeline.h"
#include "store/sidecar/fetch_page.h"

struct attach_item {
	const char *user_id;				      /* borrowed; NULL: anonymous */
	const char *role;				      /* borrowed */
	const char *topic;				      /* borrowed */
	const char *connection_id, *transport, *connected_at; /* borrowed; NULL: it is written down already */
	const char *epoch;				      /* borrowed; of its cursor; NULL: that is damaged */
	int64_t after;					      /* of its cursor; -1: it has none */
	const char *device;				      /* borrowed; NULL: it has no name */
	int64_t rewind;	   /* messages to go back where it has none, or none that holds; 0: as its policy has it */
	const char *types; /* borrowed; a JSON array, of messages to go back over; NULL: all */
	const char *also;  /* static: another action of tidings.authorize() that it has to be allowed; NULL: none */
};

/* Who attaches. */
struct attach_node {
	const char *id;
	int64_t opened_ever; /* connections since its start */
	bool require_user;   /* refuse users who are not in tidings.app_user, or not active */
};

/* How much of what they missed comes along. */
struct attach_limits {
	int64_t queue_max; /* messages for one without a good cursor, where no policy says another */
	int64_t rows;	   /* of one place; 0: no pages */
	int64_t bytes;	   /* of all bodies, the first aside */
};

struct attach_row {
	enum err outcome; /* OK, ERR_FORBIDDEN, ERR_NOT_FOUND, ERR_BUSY; the rest is for OK only */
	int64_t topic_id;
	char epoch[EPOCH_MAX + 1];
	uint64_t last_seq;
	uint64_t first_seq;
	uint64_t delivered_seq;
	uint64_t confirmed_seq;
	int64_t device_seq;    /* it has no cursor, and its device goes on after this seq; -1: it does not */
	int64_t rewound_after; /* it goes back, and begins after this seq; -1: it does not */
	bool unsent;	       /* messages for this user alone wait, up to confirmed_seq */
	bool same_epoch;       /* its cursor, or its device's, is of the topic's numbering */
	bool counted;	       /* it is written down: a connection, and one client more of the topic */
	uint64_t queue_max;    /* messages for one without a good cursor */
};

struct attach_result {
	const struct attach_row *rows; /* lent; as many as items, in their order */
	const struct fetch_page
		*pages; /* lent; one for each place where something was missed, as far as the limits allow */
	size_t pages_count;
};

/* result: lent; empty on error */
typedef void (*attach_answer)(void *context, enum err e, const struct attach_result *result);

enum err sql_attach(struct pipeline *p, const struct attach_node *node, const struct attach_limits *limits,
		    const struct attach_item *items, size_t count, attach_answer answer, void *context) MUST_CHECK;
