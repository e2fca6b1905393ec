/*
 * dialog - what is said on a connection that watches one diagnosis, or topics that its request named (spec section 4),
 * fan-out aside.
 *
 *	server -> client	dialog_connect(), then what was missed (dialog_missed_…), later pongs and errors
 *	client -> server	dialog_receive(): one whole text message in, at most one reply out
 *
 * Layer    domain: bytes and the time in, bytes out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "domain/caller/rate.h"
#include "domain/text/uuid.h"
#include "domain/topic/resume_point.h"
#include "domain/topic/selection.h"

struct dialog_limits {
	int64_t rate_per_s; /* messages of a client */
	int64_t burst;
	int64_t bad_max; /* messages that get an error, before the connection is closed; one is forgotten each minute */
};

/* What the last message was. */
/* NOTHING: it was refused */
enum dialog_heard { DIALOG_NOTHING, DIALOG_PING, DIALOG_ACK, DIALOG_TOKEN, DIALOG_SUBSCRIBE, DIALOG_UNSUBSCRIBE };

/* What its client says that it has. */
struct dialog_ack {
	char topic[TOPIC_NAME_MAX + 1]; /* "": of the one that the connection is about */
	uint64_t seq;
};

/* One connection's side of it. All zero at first, diagnosis_id and device aside. */
struct dialog {
	int64_t diagnosis_id; /* 0: the request named topics; then no message has one */
	/* The name that its client gives itself, by its request or as it authenticates; "": none. */
	char device[DEVICE_NAME_MAX + 1];
	struct dialog_ack *ack; /* borrowed: written by DIALOG_ACK; NULL: nobody wants to know */
	bool identified;	/* who it is has been said: no `authenticate` any more */
	const char *cursor;	/* borrowed: where the client is, which a pong tells; NULL: nothing to tell */
	struct rate_bucket bucket;
	struct rate_bucket bad;
	enum dialog_heard heard;
};

enum dialog_verdict {
	DIALOG_GO_ON,
	DIALOG_AUTHENTICATE, /* it brought a token */
	DIALOG_TOPICS,	     /* it wants another topic, or one less: client_message_read() tells */
	DIALOG_TOO_MANY_BAD, /* close with 1008; no reply */
};

struct dialog_welcome {
	const char *user_id; /* borrowed; NULL: anonymous */
	struct uuid connection_id;
	const struct resume_point *points; /* borrowed; one, or one for each topic that the request named */
	size_t points_count;
};

/* Appends the connect message. */
void dialog_connect(struct buf *out, const struct dialog *d, const struct dialog_welcome *w, int64_t wall_us);

/*
 * Appends a reconnect_messages message piece by piece: begin, add once or more, end. `message` is the whole JSON text
 * of one.
 *
 *	rewound	they are the newest, as the client has asked for, or its topic's policy
 */
void dialog_missed_begin(struct buf *out, const struct dialog *d, const char *topic, bool rewound);
void dialog_missed_add(struct buf *out, bool first, struct span message);
void dialog_missed_end(struct buf *out);

/* Appends why the connection is about to be closed: it may not have this topic. `message` is a sentence without " or \. */
void dialog_forbidden(struct buf *out, const struct dialog *d, const char *topic, const char *message);

/* One more message gets an error. False: it was one too many, and the connection is to be closed with 1008 instead. */
bool dialog_bear(struct dialog *d, const struct dialog_limits *limits, int64_t now_us);

/* Of a frame that continues a message: of those a message needs none. In parts of RATE_ONE (rate.h), as costs are. */
#define DIALOG_FRAGMENT_COST (RATE_ONE / 16)

/* Of a message: one, or one for each 4 KiB. */
int64_t dialog_cost(size_t bytes);

/* Takes the cost of what the client sends. False: it is over its rate. */
bool dialog_take(struct dialog *d, const struct dialog_limits *limits, int64_t cost, int64_t now_us);

/* Takes what it has turned out to cost besides. */
void dialog_charge(struct dialog *d, const struct dialog_limits *limits, int64_t cost, int64_t now_us);

/* What is answered to a message that is over the rate, instead of dialog_receive(). */
enum dialog_verdict dialog_refuse_rate(struct dialog *d, const struct dialog_limits *limits, int64_t now_us,
				       struct buf *reply);

/*
 * Takes one text message of the client, which is within its rate.
 *
 *	now_us	monotonic
 *	reply	out: appended: what to answer; for DIALOG_AUTHENTICATE the token instead. It has failed where there was
 *		no memory to read the message, or to answer it: the verdict says nothing then
 */
enum dialog_verdict dialog_receive(struct dialog *d, const struct dialog_limits *limits, struct span text,
				   int64_t now_us, int64_t wall_us, struct buf *reply);
