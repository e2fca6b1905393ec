/*
 * More than 400 lines: one state machine, all of whose transitions are here.
 */
#include "store/async/pg_connection.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log/log.h"
#include "store/async/lookup.h"
#include "store/async/pg_connection_internal.h"
#include "store/wire/conninfo.h"
#include "store/wire/notice.h"
#include "store/wire/session_setup.h"

#define RETRY_FIRST_MS 100
#define RETRY_MAX_MS 3000
#define GRACE_MS 1000	/* the server's own statement_timeout should come first */
#define SILENCE_MS 2000 /* then something is asked */
#define LEFT_MS 1000	/* for an answer, once another connection has found the server to hang */
#define LOOK_MS 250	/* how often a connection that is up looks at the clock */

enum pg_connection_state {
	PG_DOWN,
	PG_LOOKING_UP,
	PG_CONNECTING,
	PG_SETTING_UP, /* the statement of store/wire/session_setup.h is sent */
	PG_SET_UP,     /* and answered, but for the answer's end */
	PG_UP,
};

/* What it says of the server that no answer comes. */
enum pg_silence {
	SILENCE_HANGS,	  /* it hangs: the others leave it as well */
	SILENCE_MAY_WAIT, /* nothing yet: pg_connection_may_wait() */
	SILENCE_DOUBTED,  /* the same; this one has left `doubted` for it, and told nobody */
};

/* An attempt to connect, or the connection that it became. */
struct pg_attempt {
	size_t host;	       /* of hosts_get() */
	size_t tried;	       /* hosts, since the last wait */
	uint64_t left;	       /* hosts_left() before it, or as last seen */
	struct lookup *lookup; /* owned; PG_LOOKING_UP */
	char addresses[LOOKUP_ADDRESSES_MAX][LOOKUP_ADDRESS_SIZE];
	size_t addresses_count; /* 0: none was looked up */
	size_t address;		/* the one that is tried */
};

struct pg_connection {
	enum pg_connection_state state;
	const char *name;
	struct hosts *hosts;	   /* owned, with others */
	struct conninfo *conninfo; /* owned */
	PGconn *pq;		   /* owned; NULL when down */
	int64_t timeout_ms;
	int64_t due_ms;	      /* PG_UP: when it looks at the clock next */
	int64_t answer_by_ms; /* it is given up then; 0: no answer is awaited */
	int64_t heard_ms;     /* PG_UP: when bytes came last */
	bool pooled;	      /* once it is up */
	bool unreplicated;    /* see pg_connection_take_unreplicated() */
	enum pg_silence silence;
	size_t doubted; /* of hosts_get() */
	struct backoff backoff;
	bool said_away; /* an outage is one line in the log */

	struct pg_attempt attempt;

	const struct pg_connection_ops *ops;
	void *loop;
	void *context;
};

bool pg_connection_is_up(const struct pg_connection *c)
{
	return c->state == PG_UP;
}

PGconn *pg_connection_handle(const struct pg_connection *c)
{
	return c->state == PG_UP ? c->pq : NULL;
}

bool pg_connection_is_pooled(const struct pg_connection *c)
{
	return c->pooled;
}

bool pg_connection_take_unreplicated(struct pg_connection *c)
{
	bool unreplicated = c->unreplicated;

	c->unreplicated = false;
	return unreplicated;
}

static const char *host_text(const struct pg_connection *c)
{
	struct host host = hosts_get(c->hosts, c->attempt.host);
	const char *text = host.name ? host.name : host.address;

	return text ? text : "";
}

static void log_away(struct pg_connection *c, const char *why)
{
	char quoted[256], quoted_host[256];
	const char *host = host_text(c);

	if (!c->said_away)
		log_warning("database away connection=%s host=%s why=%s", c->name,
			    log_quote(quoted_host, sizeof(quoted_host), host, strlen(host)),
			    log_quote(quoted, sizeof(quoted), why, strcspn(why, "\n")));
	c->said_away = true;
}

/* Nothing is watched, and nothing is left of the attempt or connection. */
static void end_connection(struct pg_connection *c, int64_t due_ms)
{
	c->state = PG_DOWN;
	c->answer_by_ms = 0;
	c->ops->watch(c->loop, -1, false, false, due_ms);
	lookup_free(&c->attempt.lookup);
	PQfinish(c->pq);
	c->pq = NULL;
	c->unreplicated = false;
}

static void wait_and_retry(struct pg_connection *c)
{
	c->attempt.tried = 0;
	end_connection(c, clock_monotonic_ms() + backoff_wait_ms(&c->backoff, backoff_random()));
}

/* A connection that was up. */
static void give_up(struct pg_connection *c, const char *why)
{
	log_away(c, why);
	wait_and_retry(c);
	c->ops->down(c->context);
}

static void try_address(struct pg_connection *c);
static void try_host(struct pg_connection *c);

/* An attempt: the next address has its turn, or the next host, and when all had theirs there is a pause. */
static void attempt_failed(struct pg_connection *c, const char *why)
{
	log_away(c, why);
	if (c->attempt.addresses_count > 0 && ++c->attempt.address < c->attempt.addresses_count) {
		end_connection(c, 0);
		try_address(c);
		return;
	}
	hosts_pass(c->hosts, c->attempt.host);
	if (++c->attempt.tried < hosts_count(c->hosts)) {
		end_connection(c, 0);
		try_host(c);
		return;
	}
	wait_and_retry(c);
}

/* Sends what libpq holds, and watches for what it cannot send yet. */
static void flush(struct pg_connection *c)
{
	bool left = PQflush(c->pq) > 0;

	c->ops->watch(c->loop, PQsocket(c->pq), true, left, c->state == PG_UP ? c->due_ms : c->answer_by_ms);
}

/* Two servers must not share the work: where another one serves this connection, the others come as well. */
static void settle_doubt(struct pg_connection *c)
{
	if (c->silence != SILENCE_DOUBTED)
		return;
	if (c->attempt.host != c->doubted) {
		hosts_leave(c->hosts, c->doubted, c->attempt.left);
		c->attempt.left = hosts_left(c->hosts);
	}
	c->silence = SILENCE_MAY_WAIT;
}

static void go_up(struct pg_connection *c)
{
	const char *host = host_text(c);
	char quoted[256];

	c->state = PG_UP;
	c->answer_by_ms = 0;
	c->said_away = false;
	c->attempt.tried = 0;
	c->heard_ms = clock_monotonic_ms();
	c->due_ms = c->heard_ms + LOOK_MS;
	backoff_reset(&c->backoff);
	settle_doubt(c);
	log_notice("database connected connection=%s pooler=%s host=%s", c->name, c->pooled ? "yes" : "no",
		   log_quote(quoted, sizeof(quoted), host, strlen(host)));
	flush(c);
	c->ops->up(c->context);
}

/* Only an answer shows that there is a server: so it is now that an outage has ended. */
static void go_on_setting_up(struct pg_connection *c)
{
	PGresult *answer;

	flush(c);
	while (!PQisBusy(c->pq) && (answer = PQgetResult(c->pq))) {
		const char *why = NULL;

		c->state = PG_SET_UP;
		if (!session_setup_read(answer, &c->pooled, &why)) {
			attempt_failed(c, why);
			PQclear(answer);
			return;
		}
		PQclear(answer);
	}
	if (PQisBusy(c->pq))
		return;
	if (c->state == PG_SET_UP)
		go_up(c);
	else
		attempt_failed(c, "no answer");
}

/* What the functions of sql/ tell the operator begins so; the rest is the server's own talk. */
static void take_notice(void *context, const PGresult *notice)
{
	static const char ours[] = "tidings: ";
	struct pg_connection *c = context;
	const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
	char quoted[256];

	c->unreplicated = c->unreplicated || notice_is_unreplicated(notice);
	if (!message)
		return;
	log_quote(quoted, sizeof(quoted), message, strcspn(message, "\n"));
	if (strncmp(message, ours, strlen(ours)) == 0)
		log_warning("the database warns connection=%s message=%s", c->name, quoted);
	else
		log_debug("database notice connection=%s message=%s", c->name, quoted);
}

static void go_on_connecting(struct pg_connection *c)
{
	PostgresPollingStatusType next;

	/* libpq may close its socket and open another inside: nobody watches it meanwhile. */
	c->ops->watch(c->loop, -1, false, false, 0);
	next = PQconnectPoll(c->pq);
	if (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
		bool reading = next == PGRES_POLLING_READING;

		c->ops->watch(c->loop, PQsocket(c->pq), reading, !reading, c->answer_by_ms);
	} else if (next == PGRES_POLLING_OK && PQsetnonblocking(c->pq, 1) == 0 &&
		   session_setup_send(c->pq, c->timeout_ms)) {
		c->state = PG_SETTING_UP;
		c->answer_by_ms = clock_monotonic_ms() + hosts_connect_ms(c->hosts);
		flush(c);
	} else {
		attempt_failed(c, PQerrorMessage(c->pq));
	}
}

static void try_address(struct pg_connection *c)
{
	conninfo_set_host(c->conninfo, c->attempt.host,
			  c->attempt.addresses_count > 0 ? c->attempt.addresses[c->attempt.address] : NULL);
	c->state = PG_CONNECTING;
	c->pq = PQconnectStartParams(c->conninfo->keywords, c->conninfo->values, 1);
	if (!c->pq || PQstatus(c->pq) == CONNECTION_BAD) {
		attempt_failed(c, c->pq ? PQerrorMessage(c->pq) : "no memory");
		return;
	}
	PQsetNoticeReceiver(c->pq, take_notice, c);
	c->answer_by_ms = clock_monotonic_ms() + hosts_connect_ms(c->hosts);
	/* The first poll comes when the socket is writable (libpq's manual, PQconnectStartParams). */
	c->ops->watch(c->loop, PQsocket(c->pq), false, true, c->answer_by_ms);
}

static void go_on_looking_up(struct pg_connection *c)
{
	const char *why = NULL;

	c->attempt.addresses_count = lookup_take(c->attempt.lookup, c->attempt.addresses, &why);
	end_connection(c, 0);
	if (c->attempt.addresses_count > 0)
		try_address(c);
	else
		attempt_failed(c, why);
}

/* Whether libpq would have to look a name up, which blocks. */
static bool is_name(const struct host *host)
{
	struct in6_addr address;

	return host->name && !host->address && host->name[0] != '/' && host->name[0] != '@' &&
	       inet_pton(AF_INET, host->name, &address) != 1 && inet_pton(AF_INET6, host->name, &address) != 1;
}

static void try_host(struct pg_connection *c)
{
	struct host host;

	c->attempt.host = hosts_first(c->hosts);
	c->attempt.left = hosts_left(c->hosts);
	c->attempt.addresses_count = c->attempt.address = 0;
	host = hosts_get(c->hosts, c->attempt.host);
	if (!is_name(&host)) {
		try_address(c);
	} else if (lookup_start(&c->attempt.lookup, host.name) != OK) {
		attempt_failed(c, "its name cannot be looked up");
	} else {
		c->state = PG_LOOKING_UP;
		c->answer_by_ms = clock_monotonic_ms() + hosts_connect_ms(c->hosts);
		c->ops->watch(c->loop, lookup_fd(c->attempt.lookup), true, false, c->answer_by_ms);
	}
}

enum err pg_connection_open(struct pg_connection **c, const char *name, struct hosts *hosts, const char *default_user,
			    const char *application_name, int64_t timeout_ms, const struct pg_connection_ops *ops,
			    void *loop, void *context)
{
	struct pg_connection *made = calloc(1, sizeof(*made));
	enum err e;

	if (!made)
		return ERR_MEMORY;
	e = conninfo_new(&made->conninfo, hosts, default_user, application_name, timeout_ms);
	if (e != OK) {
		free(made);
		return e;
	}
	made->hosts = hosts_share(hosts);
	made->name = name;
	made->timeout_ms = timeout_ms;
	made->ops = ops;
	made->loop = loop;
	made->context = context;
	made->backoff = (struct backoff){.first_ms = RETRY_FIRST_MS, .max_ms = RETRY_MAX_MS};
	*c = made;
	try_host(made);
	return OK;
}

void pg_connection_close(struct pg_connection **c)
{
	if (!*c)
		return;
	end_connection(*c, 0);
	conninfo_free(&(*c)->conninfo);
	hosts_free(&(*c)->hosts);
	free(*c);
	*c = NULL;
}

void pg_connection_flush(struct pg_connection *c)
{
	if (c->state == PG_UP)
		flush(c);
}

void pg_connection_await(struct pg_connection *c, bool answer)
{
	c->answer_by_ms = answer ? clock_monotonic_ms() + c->timeout_ms + GRACE_MS : 0;
}

void pg_connection_ready(struct pg_connection *c, bool readable, bool writable)
{
	if (c->state == PG_DOWN)
		return;
	if (c->state == PG_LOOKING_UP) {
		go_on_looking_up(c);
		return;
	}
	if (c->state == PG_CONNECTING) {
		go_on_connecting(c);
		return;
	}
	if (readable && !PQconsumeInput(c->pq)) {
		if (c->state == PG_UP)
			give_up(c, PQerrorMessage(c->pq));
		else
			attempt_failed(c, PQerrorMessage(c->pq));
		return;
	}
	if (c->state == PG_SETTING_UP || c->state == PG_SET_UP) {
		go_on_setting_up(c);
		return;
	}
	if (readable) {
		c->heard_ms = clock_monotonic_ms();
		c->ops->readable(c->context);
	}
	if (writable)
		pg_connection_flush(c);
}

/*
 * Another connection has left its server, which may be this one's too: that has to show soon. Where there are other hosts, this
 * one leaves it at once: two servers that both take themselves for the primary must not share the work.
 */
static void hurry(struct pg_connection *c, int64_t now_ms)
{
	int64_t by_ms = now_ms + LEFT_MS;

	if (hosts_count(c->hosts) > 1) {
		give_up(c, "another connection has left its server");
		return;
	}
	c->attempt.left = hosts_left(c->hosts);
	if (c->answer_by_ms == 0)
		c->ops->probe(c->context);
	if (c->state == PG_UP)
		c->answer_by_ms = c->answer_by_ms == 0 ? by_ms : MIN(c->answer_by_ms, by_ms);
}

static void doubt(struct pg_connection *c)
{
	c->silence = SILENCE_DOUBTED;
	c->doubted = c->attempt.host;
	hosts_pass(c->hosts, c->attempt.host);
	give_up(c, "no answer");
}

static void look(struct pg_connection *c)
{
	int64_t now_ms = clock_monotonic_ms();

	c->due_ms = now_ms + LOOK_MS;
	if (c->answer_by_ms != 0 && now_ms >= c->answer_by_ms) {
		if (c->silence == SILENCE_HANGS)
			pg_connection_leave_server(c, "no answer");
		else
			doubt(c);
		return;
	}
	if (hosts_left(c->hosts) != c->attempt.left)
		hurry(c, now_ms);
	else if (c->answer_by_ms == 0 && now_ms - c->heard_ms >= SILENCE_MS)
		c->ops->probe(c->context);
	if (c->state == PG_UP)
		flush(c);
}

void pg_connection_due(struct pg_connection *c)
{
	switch (c->state) {
	case PG_DOWN:
		try_host(c);
		break;
	case PG_LOOKING_UP:
		attempt_failed(c, "its name is not found in time");
		break;
	case PG_CONNECTING:
		attempt_failed(c, "connecting takes too long");
		break;
	case PG_SETTING_UP:
	case PG_SET_UP:
		attempt_failed(c, "no answer");
		break;
	case PG_UP:
		look(c);
		break;
	}
}

void pg_connection_drop(struct pg_connection *c, const char *why)
{
	if (c->state == PG_UP)
		give_up(c, why);
	else if (c->state != PG_DOWN)
		attempt_failed(c, why);
}

void pg_connection_may_wait(struct pg_connection *c)
{
	c->silence = SILENCE_MAY_WAIT;
}

void pg_connection_leave_server(struct pg_connection *c, const char *why)
{
	if (c->state != PG_UP)
		return;
	hosts_leave(c->hosts, c->attempt.host, c->attempt.left);
	give_up(c, why);
}
