#include "store/async/doorbell.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log/log.h"
#include "domain/caller/token.h"
#include "store/async/pg_connection_internal.h"

#define LISTEN "SELECT purpose, name FROM tidings.listen()"

#define CHANNEL_NAME_SIZE 64 /* PostgreSQL's NAMEDATALEN */

enum { PURPOSE, NAME };

enum channel { MESSAGES, EPHEMERAL, OUTBOX, CONTROL, CHANNELS };

static const char *const purposes[CHANNELS] = {"messages", "ephemeral", "outbox", "control"};

struct listener {
	struct link *link; /* owned */
	const struct listener_ops *ops;
	void *loop;
	void *context;
	bool keeps_sessions;
	char names[CHANNELS][CHANNEL_NAME_SIZE]; /* of the channels: secret */
	bool knows_names;
	bool listening; /* the names are known */
	bool probing;	/* LINK_PROBE is asked */
	bool renew;	/* the names are to be asked for, once that is answered */
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
static void on_doorbell(struct listener *l, const char *payload)
{
	int64_t id;

	while (*payload && take_number(&payload, &id))
		l->ops->rung(l->context, id);
}

/* "<topic id> <uuid or -> <length of to_user> <to_user> <body>": see tidings.append() */
static void on_ephemeral(struct listener *l, const char *payload)
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
	l->ops->ephemeral(l->context, id, user_len > 0 ? to_user : NULL, has_exclude ? &exclude : NULL,
			  (struct span){at, strlen(at)});
}

static void on_notification(struct listener *l, const PGnotify *n)
{
	enum channel c = MESSAGES;

	while (c < CHANNELS && strcmp(n->relname, l->names[c]) != 0)
		c++;
	switch (c) {
	case MESSAGES:
		on_doorbell(l, n->extra);
		break;
	case EPHEMERAL:
		on_ephemeral(l, n->extra);
		break;
	case OUTBOX:
		l->ops->outbox(l->context);
		break;
	case CONTROL:
		l->ops->control(l->context, n->extra);
		break;
	case CHANNELS:
		break;
	}
}

/* False: not every channel has a name in it. */
static bool take_names(struct listener *l, const PGresult *answer)
{
	int known = 0;

	if (PQresultStatus(answer) != PGRES_TUPLES_OK)
		return false;
	for (int row = 0; row < PQntuples(answer); row++) {
		for (int c = 0; c < CHANNELS; c++) {
			if (strcmp(PQgetvalue(answer, row, PURPOSE), purposes[c]) != 0 ||
			    PQgetlength(answer, row, NAME) >= CHANNEL_NAME_SIZE)
				continue;
			memcpy(l->names[c], PQgetvalue(answer, row, NAME), (size_t)PQgetlength(answer, row, NAME) + 1);
			known++;
		}
	}
	return known == CHANNELS;
}

static void on_probed(struct listener *l, const PGresult *result)
{
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
		link_drop(l->link, PQresultErrorMessage(result));
	else if (PQgetvalue(result, 0, 0)[0] == 't')
		link_leave(l->link, LINK_NO_PRIMARY);
}

/* An answer, or what PostgreSQL says of its own before it ends the connection. */
static void on_result(struct listener *l, const PGresult *result)
{
	char why[256];

	if (l->probing) {
		on_probed(l, result);
		return;
	}
	l->knows_names = take_names(l, result);
	if (l->knows_names)
		return;
	log_quote(why, sizeof(why), PQresultErrorMessage(result), strcspn(PQresultErrorMessage(result), "\n"));
	if (l->listening)
		link_drop(l->link, why);
	else /* The link makes itself anew when no answer has come in time: so there is no need for a timer here. */
		log_warning("no notifications: tidings.listen() failed why=%s", why);
}

static void listen_to_all(struct listener *l)
{
	l->listening = false;
	l->knows_names = false;
	l->renew = false;
	if (!PQsendQuery(link_connection(l->link), LISTEN)) {
		link_drop(l->link, "LISTEN cannot be sent");
		return;
	}
	link_await(l->link, true);
	link_flush(l->link);
}

static void on_readable(void *context)
{
	struct listener *l = context;
	PGconn *connection;
	PGresult *result;
	PGnotify *n;

	while ((connection = link_connection(l->link)) && !PQisBusy(connection) && (result = PQgetResult(connection))) {
		on_result(l, result);
		PQclear(result);
	}
	if (connection && !PQisBusy(connection) && l->probing) {
		l->probing = false;
		link_await(l->link, false);
		if (l->renew)
			listen_to_all(l);
	} else if (connection && !PQisBusy(connection) && l->knows_names && !l->listening) {
		l->listening = true;
		link_await(l->link, false);
		l->ops->up(l->context);
	}
	while ((connection = link_connection(l->link)) && (n = PQnotifies(connection))) {
		on_notification(l, n);
		PQfreemem(n);
	}
}

bool listener_is_deaf(const struct listener *l)
{
	return link_is_up(l->link) && link_is_pooled(l->link) && !l->keeps_sessions;
}

bool listener_is_settled(const struct listener *l)
{
	return l->listening || listener_is_deaf(l);
}

void listener_renew(struct listener *l)
{
	if (l->listening && l->probing)
		l->renew = true;
	else if (l->listening)
		listen_to_all(l);
}

static void on_up(void *context)
{
	struct listener *l = context;

	l->listening = l->probing = l->renew = false;
	if (listener_is_deaf(l)) {
		if (!l->said_deaf)
			log_warning(
				"no notifications through a pooler: messages come up to 4 s late, ephemeral ones not "
				"at all; TIDINGS_LISTEN_DATABASE can name PostgreSQL itself");
		l->said_deaf = true;
		l->ops->up(l->context);
		return;
	}
	listen_to_all(l);
}

static void on_down(void *context)
{
	struct listener *l = context;

	l->listening = false;
}

static void on_probe(void *context)
{
	struct listener *l = context;

	if (!PQsendQuery(link_connection(l->link), LINK_PROBE)) {
		link_drop(l->link, "a probe cannot be sent");
		return;
	}
	l->probing = true;
	link_await(l->link, true);
	link_flush(l->link);
}

static void on_watch(void *context, int fd, bool read, bool write, int64_t due_ms)
{
	struct listener *l = context;

	l->ops->watch(l->loop, fd, read, write, due_ms);
}

static const struct link_ops link_ops = {
	.watch = on_watch, .up = on_up, .down = on_down, .readable = on_readable, .probe = on_probe};

enum err listener_open(struct listener **l, struct hosts *hosts, bool keeps_sessions, int64_t timeout_ms,
		       const struct listener_ops *ops, void *loop, void *context)
{
	struct listener *made = calloc(1, sizeof(*made));
	enum err e;

	if (!made)
		return ERR_MEMORY;
	made->ops = ops;
	made->loop = loop;
	made->context = context;
	made->keeps_sessions = keeps_sessions;
	*l = made;
	e = link_open(&made->link, "listener", hosts, "tidings_sidecar", "tidings-ws listener", timeout_ms, &link_ops,
		      made, made);
	if (e != OK) {
		free(made);
		*l = NULL;
	}
	return e;
}

void listener_close(struct listener **l)
{
	if (!*l)
		return;
	link_close(&(*l)->link);
	free(*l);
	*l = NULL;
}

struct link *listener_link(struct listener *l)
{
	return l->link;
}
