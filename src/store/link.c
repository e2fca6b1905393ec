#include "store/link.h"

#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/conninfo.h"
#include "store/hello.h"
#include "store/link_internal.h"

#define CONNECT_MAX_MS 5000
#define RETRY_FIRST_MS 100
#define RETRY_MAX_MS 3000

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct link {
	enum link_state state;
	const char *name;
	struct conninfo *conninfo; /* owned */
	PGconn *connection;	   /* owned; NULL when down */
	int64_t timeout_ms;
	int64_t answer_by_ms; /* it is given up then; 0: no answer is awaited here */
	bool greeted;	      /* the database has answered */
	bool pooled;	      /* once it is up */
	struct backoff backoff;
	bool said_away; /* an outage is one line in the log */
	const struct link_ops *ops;
	void *loop;
	void *context;
};

static void connect_now(struct link *l);

bool link_is_up(const struct link *l)
{
	return l->state == LINK_UP;
}

PGconn *link_connection(const struct link *l)
{
	return l->state == LINK_UP ? l->connection : NULL;
}

bool link_is_pooled(const struct link *l)
{
	return l->pooled;
}

static void give_up(struct link *l, const char *why)
{
	bool was_up = l->state == LINK_UP;
	char quoted[256];

	if (!l->said_away) {
		log_warning("database away link=%s why=%s", l->name,
			    log_quote(quoted, sizeof(quoted), why, strcspn(why, "\n")));
		l->said_away = true;
	}
	l->state = LINK_DOWN;
	l->ops->watch(l->loop, -1, false, false, clock_monotonic_ms() + backoff_wait_ms(&l->backoff, backoff_random()));
	PQfinish(l->connection);
	l->connection = NULL;
	if (was_up)
		l->ops->down(l->context);
}

/* Sends what libpq holds, and watches for what it cannot send yet. */
static void flush(struct link *l)
{
	int left = PQflush(l->connection);

	l->ops->watch(l->loop, PQsocket(l->connection), true, left > 0, l->answer_by_ms);
}

/* Only an answer shows that there is a server: so it is now that an outage has ended. */
static void go_on_greeting(struct link *l)
{
	PGresult *answer;

	flush(l);
	while (!PQisBusy(l->connection) && (answer = PQgetResult(l->connection))) {
		const char *why = NULL;

		l->greeted = hello_read(answer, &l->pooled, &why);
		if (!l->greeted) {
			give_up(l, why);
			PQclear(answer);
			return;
		}
		PQclear(answer);
	}
	if (PQisBusy(l->connection))
		return;
	if (!l->greeted) {
		give_up(l, "no answer");
		return;
	}
	l->state = LINK_UP;
	l->answer_by_ms = 0;
	l->said_away = false;
	backoff_reset(&l->backoff);
	log_notice("database connected link=%s pooler=%s", l->name, l->pooled ? "yes" : "no");
	l->ops->watch(l->loop, PQsocket(l->connection), true, false, 0);
	l->ops->up(l->context);
}

/* What the functions of sql/ tell the operator begins so; the rest is the server's own talk. */
static void take_notice(void *link, const PGresult *notice)
{
	static const char ours[] = "tidings: ";
	const struct link *l = link;
	const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
	char quoted[256];

	if (!message)
		return;
	log_quote(quoted, sizeof(quoted), message, strcspn(message, "\n"));
	if (strncmp(message, ours, strlen(ours)) == 0)
		log_warning("the database warns link=%s message=%s", l->name, quoted);
	else
		log_debug("database notice link=%s message=%s", l->name, quoted);
}

static void go_on_connecting(struct link *l)
{
	PostgresPollingStatusType next;

	/* libpq may close its socket and open another inside: nobody watches it meanwhile. */
	l->ops->watch(l->loop, -1, false, false, 0);
	next = PQconnectPoll(l->connection);
	if (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
		bool reading = next == PGRES_POLLING_READING;

		l->ops->watch(l->loop, PQsocket(l->connection), reading, !reading, l->answer_by_ms);
	} else if (next == PGRES_POLLING_OK && PQsetnonblocking(l->connection, 1) == 0 &&
		   hello_send(l->connection, l->timeout_ms)) {
		l->state = LINK_GREETING;
		l->greeted = false;
		flush(l);
	} else {
		give_up(l, PQerrorMessage(l->connection));
	}
}

static void connect_now(struct link *l)
{
	l->connection = PQconnectStartParams(l->conninfo->keywords, l->conninfo->values, 1);
	if (!l->connection || PQstatus(l->connection) == CONNECTION_BAD) {
		give_up(l, l->connection ? PQerrorMessage(l->connection) : "no memory");
		return;
	}
	PQsetNoticeReceiver(l->connection, take_notice, l);
	l->state = LINK_CONNECTING;
	l->answer_by_ms = clock_monotonic_ms() + CONNECT_MAX_MS;
	/* The first poll comes when the socket is writable (libpq's manual, PQconnectStartParams). */
	l->ops->watch(l->loop, PQsocket(l->connection), false, true, l->answer_by_ms);
}

enum err link_open(struct link **l, const char *name, const char *conninfo, const char *default_user,
		   const char *application_name, int64_t timeout_ms, const struct link_ops *ops, void *loop,
		   void *context)
{
	struct link *made = calloc(1, sizeof(*made));
	enum err e;

	if (!made)
		return ERR_MEMORY;
	e = conninfo_new(&made->conninfo, conninfo, default_user, application_name, timeout_ms);
	if (e != OK) {
		free(made);
		return e;
	}
	made->name = name;
	made->timeout_ms = timeout_ms;
	made->ops = ops;
	made->loop = loop;
	made->context = context;
	made->backoff = (struct backoff){.first_ms = RETRY_FIRST_MS, .max_ms = RETRY_MAX_MS};
	*l = made;
	connect_now(made);
	return OK;
}

void link_close(struct link **l)
{
	if (!*l)
		return;
	(*l)->ops->watch((*l)->loop, -1, false, false, 0);
	PQfinish((*l)->connection);
	conninfo_free(&(*l)->conninfo);
	free(*l);
	*l = NULL;
}

void link_flush(struct link *l)
{
	if (l->state == LINK_UP)
		flush(l);
}

void link_await(struct link *l, bool answer)
{
	if (l->state != LINK_UP)
		return;
	l->answer_by_ms = answer ? clock_monotonic_ms() + 2 * l->timeout_ms : 0;
	flush(l);
}

void link_ready(struct link *l, bool readable, bool writable)
{
	if (l->state == LINK_CONNECTING) {
		go_on_connecting(l);
		return;
	}
	if (l->state == LINK_DOWN)
		return;
	if (readable && !PQconsumeInput(l->connection)) {
		give_up(l, PQerrorMessage(l->connection));
		return;
	}
	if (l->state == LINK_GREETING) {
		go_on_greeting(l);
		return;
	}
	if (readable)
		l->ops->readable(l->context);
	if (writable)
		link_flush(l);
}

void link_due(struct link *l)
{
	if (l->state == LINK_DOWN)
		connect_now(l);
	else if (l->state != LINK_UP)
		give_up(l, "connecting takes too long");
	else if (l->answer_by_ms != 0)
		give_up(l, "no answer");
}

void link_drop(struct link *l, const char *why)
{
	if (l->state != LINK_DOWN)
		give_up(l, why);
}
