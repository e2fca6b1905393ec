#include "store/link.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/conninfo.h"
#include "store/hello.h"
#include "store/link_internal.h"
#include "store/lookup.h"
#include "store/notice.h"

#define RETRY_FIRST_MS 100
#define RETRY_MAX_MS 3000
#define GRACE_MS 1000	/* the server's own statement_timeout should come first */
#define SILENCE_MS 2000 /* then something is asked */
#define LEFT_MS 1000	/* for an answer, once another link has found the server to hang */
#define LOOK_MS 250	/* how often a link that is up looks at the clock */

enum link_state { LINK_DOWN, LINK_LOOKING_UP, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct link {
	enum link_state state;
	const char *name;
	struct hosts *hosts;	   /* owned, with others */
	struct conninfo *conninfo; /* owned */
	PGconn *connection;	   /* owned; NULL when down */
	int64_t timeout_ms;
	int64_t due_ms;	      /* LINK_UP: when it looks at the clock next */
	int64_t answer_by_ms; /* it is given up then; 0: no answer is awaited */
	int64_t heard_ms;     /* LINK_UP: when bytes came last */
	bool greeted;	      /* the database has answered */
	bool pooled;	      /* once it is up */
	bool unreplicated;    /* see link_take_unreplicated() */
	bool may_wait;	      /* see link_may_wait() */
	bool doubts;	      /* it has left `doubted`, of hosts_get(), and told nobody */
	size_t doubted;
	struct backoff backoff;
	bool said_away; /* an outage is one line in the log */

	/* the attempt, or the connection that it became */
	size_t host;	       /* of hosts_get() */
	size_t tried;	       /* hosts, since the last wait */
	uint64_t left;	       /* hosts_left() before it, or as last seen */
	struct lookup *lookup; /* owned; LINK_LOOKING_UP */
	char addresses[LOOKUP_ADDRESSES_MAX][LOOKUP_ADDRESS_SIZE];
	size_t addresses_count; /* 0: none was looked up */
	size_t address;		/* the one that is tried */

	const struct link_ops *ops;
	void *loop;
	void *context;
};

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

bool link_take_unreplicated(struct link *l)
{
	bool unreplicated = l->unreplicated;

	l->unreplicated = false;
	return unreplicated;
}

static const char *host_text(const struct link *l)
{
	struct host host = hosts_get(l->hosts, l->host);
	const char *text = host.name ? host.name : host.address;

	return text ? text : "";
}

static void log_away(struct link *l, const char *why)
{
	char quoted[256], quoted_host[256];
	const char *host = host_text(l);

	if (!l->said_away)
		log_warning("database away link=%s host=%s why=%s", l->name,
			    log_quote(quoted_host, sizeof(quoted_host), host, strlen(host)),
			    log_quote(quoted, sizeof(quoted), why, strcspn(why, "\n")));
	l->said_away = true;
}

/* Nothing is watched, and nothing is left of the attempt or connection. */
static void end_connection(struct link *l, int64_t due_ms)
{
	l->state = LINK_DOWN;
	l->answer_by_ms = 0;
	l->ops->watch(l->loop, -1, false, false, due_ms);
	lookup_free(&l->lookup);
	PQfinish(l->connection);
	l->connection = NULL;
	l->unreplicated = false;
}

static void wait_and_retry(struct link *l)
{
	l->tried = 0;
	end_connection(l, clock_monotonic_ms() + backoff_wait_ms(&l->backoff, backoff_random()));
}

/* A connection that was up. */
static void give_up(struct link *l, const char *why)
{
	log_away(l, why);
	wait_and_retry(l);
	l->ops->down(l->context);
}

static void try_address(struct link *l);
static void try_host(struct link *l);

/* An attempt: the next address has its turn, or the next host, and when all had theirs there is a pause. */
static void attempt_failed(struct link *l, const char *why)
{
	log_away(l, why);
	if (l->addresses_count > 0 && ++l->address < l->addresses_count) {
		end_connection(l, 0);
		try_address(l);
		return;
	}
	hosts_pass(l->hosts, l->host);
	if (++l->tried < hosts_count(l->hosts)) {
		end_connection(l, 0);
		try_host(l);
		return;
	}
	wait_and_retry(l);
}

/* Sends what libpq holds, and watches for what it cannot send yet. */
static void flush(struct link *l)
{
	bool left = PQflush(l->connection) > 0;

	l->ops->watch(l->loop, PQsocket(l->connection), true, left, l->state == LINK_UP ? l->due_ms : l->answer_by_ms);
}

/* Two servers must not share the work: where another one serves this link, the others come as well. */
static void settle_doubt(struct link *l)
{
	if (l->doubts && l->host != l->doubted) {
		hosts_leave(l->hosts, l->doubted, l->left);
		l->left = hosts_left(l->hosts);
	}
	l->doubts = false;
}

static void go_up(struct link *l)
{
	const char *host = host_text(l);
	char quoted[256];

	l->state = LINK_UP;
	l->answer_by_ms = 0;
	l->said_away = false;
	l->tried = 0;
	l->heard_ms = clock_monotonic_ms();
	l->due_ms = l->heard_ms + LOOK_MS;
	backoff_reset(&l->backoff);
	settle_doubt(l);
	log_notice("database connected link=%s pooler=%s host=%s", l->name, l->pooled ? "yes" : "no",
		   log_quote(quoted, sizeof(quoted), host, strlen(host)));
	flush(l);
	l->ops->up(l->context);
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
			attempt_failed(l, why);
			PQclear(answer);
			return;
		}
		PQclear(answer);
	}
	if (PQisBusy(l->connection))
		return;
	if (l->greeted)
		go_up(l);
	else
		attempt_failed(l, "no answer");
}

/* What the functions of sql/ tell the operator begins so; the rest is the server's own talk. */
static void take_notice(void *link, const PGresult *notice)
{
	static const char ours[] = "tidings: ";
	struct link *l = link;
	const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
	char quoted[256];

	l->unreplicated = l->unreplicated || notice_is_unreplicated(notice);
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
		l->answer_by_ms = clock_monotonic_ms() + hosts_connect_ms(l->hosts);
		flush(l);
	} else {
		attempt_failed(l, PQerrorMessage(l->connection));
	}
}

static void try_address(struct link *l)
{
	conninfo_set_host(l->conninfo, l->host, l->addresses_count > 0 ? l->addresses[l->address] : NULL);
	l->state = LINK_CONNECTING;
	l->connection = PQconnectStartParams(l->conninfo->keywords, l->conninfo->values, 1);
	if (!l->connection || PQstatus(l->connection) == CONNECTION_BAD) {
		attempt_failed(l, l->connection ? PQerrorMessage(l->connection) : "no memory");
		return;
	}
	PQsetNoticeReceiver(l->connection, take_notice, l);
	l->answer_by_ms = clock_monotonic_ms() + hosts_connect_ms(l->hosts);
	/* The first poll comes when the socket is writable (libpq's manual, PQconnectStartParams). */
	l->ops->watch(l->loop, PQsocket(l->connection), false, true, l->answer_by_ms);
}

static void go_on_looking_up(struct link *l)
{
	const char *why = NULL;

	l->addresses_count = lookup_take(l->lookup, l->addresses, &why);
	end_connection(l, 0);
	if (l->addresses_count > 0)
		try_address(l);
	else
		attempt_failed(l, why);
}

/* Whether libpq would have to look a name up, which blocks. */
static bool is_name(const struct host *host)
{
	struct in6_addr address;

	return host->name && !host->address && host->name[0] != '/' && host->name[0] != '@' &&
	       inet_pton(AF_INET, host->name, &address) != 1 && inet_pton(AF_INET6, host->name, &address) != 1;
}

static void try_host(struct link *l)
{
	struct host host;

	l->host = hosts_first(l->hosts);
	l->left = hosts_left(l->hosts);
	l->addresses_count = l->address = 0;
	host = hosts_get(l->hosts, l->host);
	if (!is_name(&host)) {
		try_address(l);
	} else if (lookup_start(&l->lookup, host.name) != OK) {
		attempt_failed(l, "its name cannot be looked up");
	} else {
		l->state = LINK_LOOKING_UP;
		l->answer_by_ms = clock_monotonic_ms() + hosts_connect_ms(l->hosts);
		l->ops->watch(l->loop, lookup_fd(l->lookup), true, false, l->answer_by_ms);
	}
}

enum err link_open(struct link **l, const char *name, struct hosts *hosts, const char *default_user,
		   const char *application_name, int64_t timeout_ms, const struct link_ops *ops, void *loop,
		   void *context)
{
	struct link *made = calloc(1, sizeof(*made));
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
	*l = made;
	try_host(made);
	return OK;
}

void link_close(struct link **l)
{
	if (!*l)
		return;
	end_connection(*l, 0);
	conninfo_free(&(*l)->conninfo);
	hosts_free(&(*l)->hosts);
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
	l->answer_by_ms = answer ? clock_monotonic_ms() + l->timeout_ms + GRACE_MS : 0;
}

void link_ready(struct link *l, bool readable, bool writable)
{
	if (l->state == LINK_DOWN)
		return;
	if (l->state == LINK_LOOKING_UP) {
		go_on_looking_up(l);
		return;
	}
	if (l->state == LINK_CONNECTING) {
		go_on_connecting(l);
		return;
	}
	if (readable && !PQconsumeInput(l->connection)) {
		if (l->state == LINK_UP)
			give_up(l, PQerrorMessage(l->connection));
		else
			attempt_failed(l, PQerrorMessage(l->connection));
		return;
	}
	if (l->state == LINK_GREETING) {
		go_on_greeting(l);
		return;
	}
	if (readable) {
		l->heard_ms = clock_monotonic_ms();
		l->ops->readable(l->context);
	}
	if (writable)
		link_flush(l);
}

/*
 * Another link has left its server, which may be this one's too: that has to show soon. Where there are other hosts, this
 * one leaves it at once: two servers that both take themselves for the primary must not share the work.
 */
static void hurry(struct link *l, int64_t now_ms)
{
	int64_t by_ms = now_ms + LEFT_MS;

	if (hosts_count(l->hosts) > 1) {
		give_up(l, "another connection has left its server");
		return;
	}
	l->left = hosts_left(l->hosts);
	if (l->answer_by_ms == 0)
		l->ops->probe(l->context);
	if (l->state == LINK_UP)
		l->answer_by_ms = l->answer_by_ms == 0 ? by_ms : MIN(l->answer_by_ms, by_ms);
}

static void doubt(struct link *l)
{
	l->doubts = true;
	l->doubted = l->host;
	hosts_pass(l->hosts, l->host);
	give_up(l, "no answer");
}

static void look(struct link *l)
{
	int64_t now_ms = clock_monotonic_ms();

	l->due_ms = now_ms + LOOK_MS;
	if (l->answer_by_ms != 0 && now_ms >= l->answer_by_ms) {
		if (l->may_wait)
			doubt(l);
		else
			link_leave(l, "no answer");
		return;
	}
	if (hosts_left(l->hosts) != l->left)
		hurry(l, now_ms);
	else if (l->answer_by_ms == 0 && now_ms - l->heard_ms >= SILENCE_MS)
		l->ops->probe(l->context);
	if (l->state == LINK_UP)
		flush(l);
}

void link_due(struct link *l)
{
	switch (l->state) {
	case LINK_DOWN:
		try_host(l);
		break;
	case LINK_LOOKING_UP:
		attempt_failed(l, "its name is not found in time");
		break;
	case LINK_CONNECTING:
		attempt_failed(l, "connecting takes too long");
		break;
	case LINK_GREETING:
		attempt_failed(l, "no answer");
		break;
	case LINK_UP:
		look(l);
		break;
	}
}

void link_drop(struct link *l, const char *why)
{
	if (l->state == LINK_UP)
		give_up(l, why);
	else if (l->state != LINK_DOWN)
		attempt_failed(l, why);
}

void link_may_wait(struct link *l)
{
	l->may_wait = true;
}

void link_leave(struct link *l, const char *why)
{
	if (l->state != LINK_UP)
		return;
	hosts_leave(l->hosts, l->host, l->left);
	give_up(l, why);
}
