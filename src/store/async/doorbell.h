/*
 * doorbell - a connection that LISTENs, and tells which topics have something new.
 *
 * NOTIFY carries no message, only which topics have something new (ephemeral ones aside, which are nowhere else). So
 * losing a notification loses time, never a message.
 *
 * What comes is believed: the channels' names are secret (sql/code/02_channels.sql), and are asked for as it comes up.
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
#include "domain/text/uuid.h"
#include "store/async/pg_connection.h"

struct doorbell; /* opaque */

struct doorbell_ops {
	void (*watch)(void *loop, int fd, bool read, bool write, int64_t due_ms); /* as pg_connection_ops */
	/* Listening, or deaf: what was rung before this moment may have been missed. */
	void (*up)(void *context);
	/* This topic has something new. */
	void (*rung)(void *context, int64_t topic_id);
	/* A message that is in no queue; to_user and exclude as in struct stored_message. All lent. */
	void (*ephemeral)(void *context, int64_t topic_id, const char *to_user, const struct uuid *exclude,
			  struct span body);
	/* An order about connections (sql/code/70_control.sql). Lent. */
	void (*control)(void *context, const char *order);
	/* The outbox has something, or feedback is to be counted. */
	void (*outbox)(void *context);
	/*
	 * Notify this channel by another connection, and call doorbell_notified() when that is done: whether it comes here tells
	 * whether a pooler keeps sessions. Lent. Where it cannot be sent, it is asked for again.
	 */
	void (*notify)(void *context, const char *channel);
};

/*
 * As pg_connection_open().
 *
 *	keeps_sessions	a pooler that the hosts' string names is said to keep a session for each connection: that is tried, by a
 *			notification. Without it nothing is listened to through a pooler: it would listen on a server that is
 *			soon another's
 */
enum err doorbell_open(struct doorbell **d, struct hosts *hosts, bool keeps_sessions, int64_t timeout_ms,
		       const struct doorbell_ops *ops, void *loop, void *context) MUST_CHECK;
void doorbell_close(struct doorbell **d);
struct pg_connection *doorbell_connection(struct doorbell *d);

/* What ops.notify() asked for has been committed. */
void doorbell_notified(struct doorbell *d);

/* Listens anew: the channels may have other names than before, after a restore. */
void doorbell_renew(struct doorbell *d);

/* It is up, and hears nothing: there is a pooler that keeps no sessions. */
bool doorbell_is_deaf(const struct doorbell *d);

/* It listens, or is deaf: nothing more will come of waiting. */
bool doorbell_is_settled(const struct doorbell *d);
