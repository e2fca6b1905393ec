#include "store/async/doorbell.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log/log.h"
#include "domain/caller/token.h"
#include "store/async/pg_connection_internal.h"

#define LISTEN "SELECT purpose, name FROM tidings.listen()"

#define PROOF_MS 2000 /* for a notification to come, once it was committed */

#define CHANNEL_NAME_SIZE 64 /* PostgreSQL's NAMEDATALEN */

enum { PURPOSE, NAME };

enum channel { MESSAGES, EPHEMERAL, OUTBOX, CONTROL, CHANNELS };

static const char *const purposes[CHANNELS] = {"messages", "ephemeral", "outbox", "control"};

enum doorbell_state {
	DOORBELL_DOWN,	 /* or nothing is listened to: through a pooler */
	DOORBELL_ASKING, /* for the channels' names */
	DOORBELL_TOLD,	 /* them; the answer's end has not come */
	DOORBELL_LISTENING,
};

enum doorbell_probe {
	PROBE_NONE,
	PROBE_ASKED,	   /* PG_CONNECTION_PROBE */
	PROBE_ASKED_RENEW, /* the names are to be asked for, once that is answered */
};

/* Whether notifications come through a pooler that is said to keep sessions. */
enum doorbell_proof {
	PROOF_NONE,    /* none is needed: there is no pooler, or nothing is listened to */
	PROOF_WANTED,  /* another connection is to notify */
	PROOF_AWAITED, /* it has */
	PROOF_HEARD,
	PROOF_MISSING, /* nothing has come: the server that listens is another's by now */
};

struct doorbell {
	enum doorbell_state state;
	enum doorbell_probe probe;
	enum doorbell_proof proof;
	int64_t notified_ms;		  /* of PROOF_AWAITED: since when */
	struct pg_connection *connection; /* owned */
	const struct doorbell_ops *ops;
	void *loop;
	void *context;
	bool keeps_sessions;
	char names[CHANNELS][CHANNEL_NAME_SIZE]; /* of the channels: secret */
	bool said_deaf;
};

/* A decimal number at *text, which moves behind it and the one character after. */
static bool take_number(const char **text, int64_t *number)
{
	char *end;

	*number = strtoll(*text, &end, 10);
	if (end == *text || *number < 0)
		return false;
	*text = *end ? end + 1 : end;
	return true;
}

/* "12,45,7" */
static void on_doorbell(struct doorbell *d, const char *payload)
{
	int64_t id;

	while (*payload && take_number(&payload, &id))
		d->ops->rung(d->context, id);
}

/* "<topic id> <uuid or -> <length of to_user> <to_user> <body>": see tidings.append() */
static void on_ephemeral(struct doorbell *d, const char *payload)
{
	char to_user[USER_ID_MAX + 1];
	struct uuid exclude;
	bool has_exclude = false;
	int64_t id, user_len;
	const char *at = payload;

	if (!take_number(&at, &id))
		return;
	if (strncmp(at, "- ", strlen("- ")) == 0) {
		at += strlen("- ");
	} else if (strlen(at) > UUID_TEXT_SIZE && uuid_parse(&exclude, at, UUID_TEXT_SIZE - 1)) {
		has_exclude = true;
		at += UUID_TEXT_SIZE;
	} else {
		return;
	}
	if (!take_number(&at, &user_len) || user_len > USER_ID_MAX || strlen(at) < (size_t)user_len + strlen(" {}"))
		return;
	memcpy(to_user, at, (size_t)user_len);
	to_user[user_len] = '\0';
	at += user_len + 1;
	d->ops->ephemeral(d->context, id, user_len > 0 ? to_user : NULL, has_exclude ? &exclude : NULL,
			  (struct span){at, strlen(at)});
}

static void on_notification(struct doorbell *d, const PGnotify *n)
{
	enum channel c = MESSAGES;

	if (d->proof == PROOF_MISSING)
		log_notice("notifications come through the pooler");
	if (d->proof != PROOF_NONE)
		d->proof = PROOF_HEARD;
	while (c < CHANNELS && strcmp(n->relname, d->names[c]) != 0)
		c++;
	switch (c) {
	case MESSAGES:
		on_doorbell(d, n->extra);
		break;
	case EPHEMERAL:
		on_ephemeral(d, n->extra);
		break;
	case OUTBOX:
		d->ops->outbox(d->context);
		break;
	case CONTROL:
		d->ops->control(d->context, n->extra);
		break;
	case CHANNELS:
		break;
	}
}

/* False: not every channel has a name in it. */
static bool take_names(struct doorbell *d, const PGresult *answer)
{
	int known = 0;

	if (PQresultStatus(answer) != PGRES_TUPLES_OK)
		return false;
	for (int row = 0; row < PQntuples(answer); row++) {
		for (int c = 0; c < CHANNELS; c++) {
			if (strcmp(PQgetvalue(answer, row, PURPOSE), purposes[c]) != 0 ||
			    PQgetlength(answer, row, NAME) >= CHANNEL_NAME_SIZE)
				continue;
			memcpy(d->names[c], PQgetvalue(answer, row, NAME), (size_t)PQgetlength(answer, row, NAME) + 1);
			known++;
		}
	}
	return known == CHANNELS;
}

static void on_probed(struct doorbell *d, const PGresult *result)
{
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
		pg_connection_drop(d->connection, PQresultErrorMessage(result));
	else if (PQgetvalue(result, 0, 0)[0] == 't')
		pg_connection_leave_server(d->connection, PG_CONNECTION_NO_PRIMARY);
}

/* An answer, or what PostgreSQL says of its own before it ends the connection. */
static void on_result(struct doorbell *d, const PGresult *result)
{
	char why[256];

	if (d->probe != PROBE_NONE) {
		on_probed(d, result);
		return;
	}
	if (take_names(d, result)) {
		d->state = DOORBELL_TOLD;
		return;
	}
	log_quote(why, sizeof(why), PQresultErrorMessage(result), strcspn(PQresultErrorMessage(result), "\n"));
	if (d->state == DOORBELL_LISTENING) {
		pg_connection_drop(d->connection, why);
		return;
	}
	/* Where no answer comes in time, the listener's pg_connection is made anew: doorbell needs no timer of its own. */
	d->state = DOORBELL_ASKING;
	log_warning("no notifications: tidings.listen() failed why=%s", why);
}

static void listen_to_all(struct doorbell *d)
{
	d->state = DOORBELL_ASKING;
	if (!PQsendQuery(pg_connection_handle(d->connection), LISTEN)) {
		pg_connection_drop(d->connection, "LISTEN cannot be sent");
		return;
	}
	pg_connection_await(d->connection, true);
	pg_connection_flush(d->connection);
}

static void ask_for_proof(struct doorbell *d)
{
	if (d->proof == PROOF_WANTED)
		d->ops->notify(d->context, d->names[CONTROL]);
}

static void on_readable(void *context)
{
	struct doorbell *d = context;
	PGconn *connection;
	PGresult *result;
	PGnotify *n;

	while ((connection = pg_connection_handle(d->connection)) && !PQisBusy(connection) &&
	       (result = PQgetResult(connection))) {
		on_result(d, result);
		PQclear(result);
	}
	if (connection && !PQisBusy(connection) && d->probe != PROBE_NONE) {
		bool renew = d->probe == PROBE_ASKED_RENEW;

		d->probe = PROBE_NONE;
		pg_connection_await(d->connection, false);
		if (renew)
			listen_to_all(d);
	} else if (connection && !PQisBusy(connection) && d->state == DOORBELL_TOLD) {
		d->state = DOORBELL_LISTENING;
		pg_connection_await(d->connection, false);
		d->ops->up(d->context);
		ask_for_proof(d);
	}
	while ((connection = pg_connection_handle(d->connection)) && (n = PQnotifies(connection))) {
		on_notification(d, n);
		PQfreemem(n);
	}
}

bool doorbell_is_deaf(const struct doorbell *d)
{
	return pg_connection_is_up(d->connection) && pg_connection_is_pooled(d->connection) &&
	       (!d->keeps_sessions || d->proof == PROOF_MISSING);
}

bool doorbell_is_settled(const struct doorbell *d)
{
	return d->state == DOORBELL_LISTENING || doorbell_is_deaf(d);
}

void doorbell_notified(struct doorbell *d)
{
	if (d->proof != PROOF_WANTED)
		return;
	d->proof = PROOF_AWAITED;
	d->notified_ms = clock_monotonic_ms();
}

void doorbell_renew(struct doorbell *d)
{
	if (d->state != DOORBELL_LISTENING)
		return;
	if (d->probe == PROBE_NONE)
		listen_to_all(d);
	else
		d->probe = PROBE_ASKED_RENEW;
}

static void on_up(void *context)
{
	struct doorbell *d = context;

	d->state = DOORBELL_DOWN;
	d->probe = PROBE_NONE;
	d->proof = PROOF_NONE;
	if (doorbell_is_deaf(d)) {
		if (!d->said_deaf)
			log_warning(
				"no notifications through a pooler: messages come up to 4 s late, ephemeral ones not "
				"at all; TIDINGS_LISTEN_DATABASE can name PostgreSQL itself");
		d->said_deaf = true;
		d->ops->up(d->context);
		return;
	}
	if (pg_connection_is_pooled(d->connection))
		d->proof = PROOF_WANTED;
	listen_to_all(d);
}

static void on_down(void *context)
{
	struct doorbell *d = context;

	d->state = DOORBELL_DOWN;
}

static void look_for_proof(struct doorbell *d)
{
	if (d->proof != PROOF_AWAITED || clock_monotonic_ms() - d->notified_ms < PROOF_MS) {
		ask_for_proof(d);
		return;
	}
	d->proof = PROOF_MISSING;
	log_warning("no notifications: TIDINGS_LISTEN_DATABASE names a pooler that keeps no sessions: messages come up "
		    "to 4 s "
		    "late, ephemeral ones not at all; it has to name PostgreSQL itself, or a pool per session");
}

static void on_probe(void *context)
{
	struct doorbell *d = context;

	if (d->state == DOORBELL_LISTENING)
		look_for_proof(d);
	if (!PQsendQuery(pg_connection_handle(d->connection), PG_CONNECTION_PROBE)) {
		pg_connection_drop(d->connection, "a probe cannot be sent");
		return;
	}
	d->probe = PROBE_ASKED;
	pg_connection_await(d->connection, true);
	pg_connection_flush(d->connection);
}

static void on_watch(void *context, int fd, bool read, bool write, int64_t due_ms)
{
	struct doorbell *d = context;

	d->ops->watch(d->loop, fd, read, write, due_ms);
}

static const struct pg_connection_ops connection_ops = {
	.watch = on_watch, .up = on_up, .down = on_down, .readable = on_readable, .probe = on_probe};

enum err doorbell_open(struct doorbell **d, struct hosts *hosts, bool keeps_sessions, int64_t timeout_ms,
		       const struct doorbell_ops *ops, void *loop, void *context)
{
	struct doorbell *made = calloc(1, sizeof(*made));
	enum err e;

	if (!made)
		return ERR_MEMORY;
	made->ops = ops;
	made->loop = loop;
	made->context = context;
	made->keeps_sessions = keeps_sessions;
	*d = made;
	e = pg_connection_open(&made->connection, "listener", hosts, "tidings_sidecar", "tidings-ws listener",
			       timeout_ms, &connection_ops, made, made);
	if (e != OK) {
		free(made);
		*d = NULL;
	}
	return e;
}

void doorbell_close(struct doorbell **d)
{
	if (!*d)
		return;
	pg_connection_close(&(*d)->connection);
	free(*d);
	*d = NULL;
}

struct pg_connection *doorbell_connection(struct doorbell *d)
{
	return d->connection;
}
