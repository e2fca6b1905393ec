#include "store/request/status.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log/log.h"
#include "base/process/http_probe.h"
#include "store/admin/schema.h"
#include "store/blocking/db_internal.h"

#define OUTBOX                                                                                                  \
	"'{\"outbox\":' || json_build_object('messages', o.messages, 'oldest_s', round(o.oldest_s), 'failed', " \
	"o.failed) || ', '"

enum { WHOLE, TOTALS };

static const struct statement status_statement = {
	"status",
	"SELECT " OUTBOX " || substr(s::text, 2), " OUTBOX
	" || substr((s::jsonb - 'nodes' - 'connections_by_diagnosis' - 'queued_messages_by_diagnosis')::text, 2) "
	"FROM tidings.status() AS s, tidings.outbox_state() AS o",
};

static const struct statement queue_statement = {"queue", "SELECT tidings.metrics()"};

enum { NODES_LIVE, RELAY_MOVES, SCHEMA_FITS };

static const struct statement health_statement = {
	"health", "SELECT tidings.live_nodes() > 0, NOT o.stuck, coalesce(" SCHEMA_APPLIED
		  " = $1::text, false) FROM tidings.outbox_state() AS o"};

#define COMMIT_NAME "tidings status commit" /* to the server */

/*
 * One that is still waiting, here or on another machine, shows what there is to know: more of them would pile up, since a
 * commit that waits for a standby outlives its connection.
 */
static const struct statement commit_statement = {
	"commit",
	"SELECT CASE WHEN EXISTS (SELECT FROM pg_stat_activity WHERE usename = session_user "
	"AND application_name = '" COMMIT_NAME "' AND state = 'active' AND pid <> pg_backend_pid() "
	"AND xact_start < clock_timestamp() - interval '1 second') THEN false ELSE tidings.commit_works() END",
};

#define COLUMNS_MAX 3

/* One thing that is read for all: a row of the database, or whether the sidecar answers. */
enum copy_order { COPY_REST, COPY_READ, COPY_STOP };

struct copy {
	const struct statement *statement;
	const char *parameter; /* of the statement; NULL: it has none */
	int64_t age_max_ms;
	const char *works, *fails;  /* for the log; NULL: it is told already */
	struct db *db;		    /* owned: the thread's; NULL: asks the sidecar */
	struct http_probe *sidecar; /* borrowed: the thread's */
	bool started;
	pthread_t thread;
	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t asked, done;
	enum copy_order order;
	int64_t reading_ms; /* since when it is being read; 0: it is not */
	int64_t began_ms;   /* when the reading of what is here began; 0: nothing was read yet */
	int64_t began_us;   /* the same, since 1970 */
	enum err outcome;
	bool ready;			 /* of the sidecar: it says so */
	struct buf columns[COLUMNS_MAX]; /* owned: the row, when the outcome is OK */
};

struct status {
	struct copy whole, health, queue, commit, sidecar;
	struct http_probe probe;
};

static enum err read_row(struct copy *c, PGresult **row)
{
	enum err e = db_ensure(c->db);

	if (e == OK)
		e = db_query(c->db, c->statement, c->parameter ? 1 : 0, &c->parameter, NULL, NULL, row);
	return e == OK && PQntuples(*row) != 1 ? ERR_DATABASE : e;
}

/* Under the lock. */
static void take(struct copy *c, const PGresult *row)
{
	for (int i = 0; i < PQnfields(row); i++) {
		buf_clear(&c->columns[i]);
		buf_add(&c->columns[i], PQgetvalue(row, 0, i), (size_t)PQgetlength(row, 0, i));
		if (!buf_ok(&c->columns[i]))
			c->outcome = ERR_MEMORY;
	}
}

static bool is_true(const struct copy *c, int column)
{
	return c->columns[column].len > 0 && c->columns[column].bytes[0] == 't';
}

static bool is_working(const struct copy *c)
{
	return c->outcome == OK && (!c->db || is_true(c, 0));
}

static void log_change(const struct copy *c, bool worked)
{
	if (c->works && is_working(c) && !worked)
		log_notice("%s", c->works);
	else if (c->fails && !is_working(c) && worked)
		log_warning("%s", c->fails);
}

static void *run(void *context)
{
	struct copy *c = context;
	bool worked = true;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		PGresult *row = NULL;
		int64_t now_ms = clock_monotonic_ms(), now_us = clock_wall_us();
		enum err e;

		if (c->order == COPY_STOP)
			break;
		if (c->order == COPY_REST) {
			pthread_cond_wait(&c->asked, &c->lock);
			continue;
		}
		c->order = COPY_REST;
		c->reading_ms = now_ms;
		pthread_mutex_unlock(&c->lock);
		e = c->db ? read_row(c, &row) : http_probe_run(c->sidecar, STATUS_WAIT_MS);
		pthread_mutex_lock(&c->lock);
		c->outcome = e;
		c->ready = e == OK && c->sidecar && c->sidecar->ready;
		if (row && e == OK)
			take(c, row);
		PQclear(row);
		log_change(c, worked);
		worked = is_working(c);
		c->began_ms = now_ms;
		c->began_us = now_us;
		c->reading_ms = 0;
		pthread_cond_broadcast(&c->done);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* True: what is in it may be given to whoever asked then. Else it is read. Under the lock. */
static bool is_fresh(struct copy *c, int64_t asked_ms)
{
	if (c->began_ms != 0 && c->began_ms >= asked_ms - c->age_max_ms)
		return true;
	if (c->order == COPY_REST) {
		c->order = COPY_READ;
		pthread_cond_signal(&c->asked);
	}
	return false;
}

/* So that it is read while others are waited for. */
static void ask(struct copy *c, int64_t asked_ms)
{
	pthread_mutex_lock(&c->lock);
	(void)is_fresh(c, asked_ms);
	pthread_mutex_unlock(&c->lock);
}

/* Until what is in it may be given away. Under the lock. */
static enum err wait_for(struct copy *c, int64_t asked_ms)
{
	int64_t until_ms = asked_ms + STATUS_WAIT_MS;

	while (!is_fresh(c, asked_ms)) {
		struct timespec until;

		if (c->reading_ms != 0)
			until_ms = MIN(until_ms, c->reading_ms + STATUS_WAIT_MS);
		if (clock_monotonic_ms() >= until_ms)
			return ERR_AWAY;
		until = (struct timespec){.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
		(void)pthread_cond_timedwait(&c->done, &c->lock, &until);
	}
	return c->outcome;
}

static enum err copy_start(struct copy *c)
{
	pthread_condattr_t monotonic;

	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->asked, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&c->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	c->started = pthread_create(&c->thread, NULL, run, c) == 0;
	return c->started ? OK : ERR_MEMORY;
}

/*
 *	like	of whose servers it knows what that one finds out; NULL: it finds out by itself
 */
static enum err copy_open(struct copy *c, const struct config *config, const char *application_name,
			  const struct copy *like)
{
	enum err e = like ? db_new_like(&c->db, like->db)
			  : db_new(&c->db, config->database, "tidings_status", application_name,
				   config->database_timeout_ms);

	if (e == OK)
		e = db_reopen(c->db);
	return e == OK || e == ERR_AWAY ? copy_start(c) : e;
}

static void copy_close(struct copy *c)
{
	if (c->started) {
		pthread_mutex_lock(&c->lock);
		c->order = COPY_STOP;
		pthread_cond_signal(&c->asked);
		pthread_mutex_unlock(&c->lock);
		pthread_join(c->thread, NULL);
		pthread_cond_destroy(&c->done);
		pthread_cond_destroy(&c->asked);
		pthread_mutex_destroy(&c->lock);
	}
	db_close(&c->db);
	for (int i = 0; i < COLUMNS_MAX; i++)
		buf_free(&c->columns[i]);
}

enum err status_open(struct status **out, const struct config *c)
{
	struct status *s = calloc(1, sizeof(*s));
	enum err e = s ? OK : ERR_MEMORY;

	if (e == OK) {
		http_probe_init(&s->probe, c->ws_socket, c->ws_address, c->ws_port);
		s->whole = (struct copy){.statement = &status_statement, .age_max_ms = STATUS_AGE_MS};
		s->queue = (struct copy){.statement = &queue_statement, .age_max_ms = QUEUE_AGE_MS};
		s->health = (struct copy){.statement = &health_statement, .parameter = schema_files};
		s->commit = (struct copy){
			.statement = &commit_statement,
			.age_max_ms = STATUS_AGE_MS,
			.works = "publishing works: commits are done again",
			.fails = "publishing does not work: the database is read-only, away, or a commit waits for a "
				 "standby",
		};
		s->sidecar = (struct copy){
			.sidecar = &s->probe,
			.age_max_ms = STATUS_AGE_MS,
			.works = "the sidecar answers again",
			.fails = "the sidecar does not answer (TIDINGS_WS_SOCKET, else TIDINGS_WS_ADDRESS and "
				 "TIDINGS_WS_PORT)",
		};
		e = copy_open(&s->whole, c, "tidings status", NULL);
	}
	if (e == OK)
		e = copy_open(&s->health, c, "tidings status", &s->whole);
	if (e == OK)
		e = copy_open(&s->queue, c, "tidings status", &s->whole);
	/* A commit that waits for its standby says nothing about the server. */
	if (e == OK)
		e = copy_open(&s->commit, c, COMMIT_NAME, NULL);
	if (e == OK)
		e = copy_start(&s->sidecar);
	if (e != OK)
		status_close(&s);
	*out = s;
	return e;
}

void status_close(struct status **s)
{
	if (!*s)
		return;
	copy_close(&(*s)->whole);
	copy_close(&(*s)->health);
	copy_close(&(*s)->queue);
	copy_close(&(*s)->commit);
	copy_close(&(*s)->sidecar);
	http_probe_close(&(*s)->probe);
	free(*s);
	*s = NULL;
}

static void ask_health(struct status *s, int64_t asked_ms)
{
	ask(&s->health, asked_ms);
	ask(&s->commit, asked_ms);
	ask(&s->sidecar, asked_ms);
}

static enum condition condition_of(bool healthy)
{
	return healthy ? HEALTHY : UNHEALTHY;
}

/* Whether it works, as far as that is known in time. */
static enum condition wait_for_condition(struct copy *c, int64_t asked_ms)
{
	enum condition condition;

	pthread_mutex_lock(&c->lock);
	condition = condition_of(wait_for(c, asked_ms) == OK && is_working(c));
	pthread_mutex_unlock(&c->lock);
	return condition;
}

static void wait_for_health(struct status *s, struct health_report *health, int64_t asked_ms)
{
	struct copy *c = &s->health;
	enum condition *checks = health->checks, nodes = UNKNOWN;

	checks[CHECK_RELAY] = health->schema = UNKNOWN;
	pthread_mutex_lock(&c->lock);
	checks[CHECK_DATABASE] = condition_of(wait_for(c, asked_ms) == OK);
	if (checks[CHECK_DATABASE] == HEALTHY) {
		nodes = condition_of(is_true(c, NODES_LIVE));
		checks[CHECK_RELAY] = condition_of(is_true(c, RELAY_MOVES));
		health->schema = condition_of(is_true(c, SCHEMA_FITS));
	}
	pthread_mutex_unlock(&c->lock);
	checks[CHECK_PUBLISHING] = wait_for_condition(&s->commit, asked_ms);
	checks[CHECK_SIDECAR] = wait_for_condition(&s->sidecar, asked_ms);
	if (checks[CHECK_SIDECAR] == HEALTHY)
		checks[CHECK_SIDECAR] = nodes;
	health->sidecar_ready = checks[CHECK_SIDECAR];
	pthread_mutex_lock(&s->sidecar.lock);
	if (health->sidecar_ready == HEALTHY && !s->sidecar.ready)
		health->sidecar_ready = UNHEALTHY;
	pthread_mutex_unlock(&s->sidecar.lock);
}

enum err status_read(struct status *s, bool totals_only, struct buf *out, struct health_report *health,
		     int64_t *read_us)
{
	int64_t asked_ms = clock_monotonic_ms();
	struct copy *c = &s->whole;
	const struct buf *text = &c->columns[totals_only ? TOTALS : WHOLE];
	enum err e;

	ask(c, asked_ms);
	ask_health(s, asked_ms);
	wait_for_health(s, health, asked_ms);
	pthread_mutex_lock(&c->lock);
	e = wait_for(c, asked_ms);
	if (e == OK) {
		buf_add(out, text->bytes, text->len);
		*read_us = c->began_us;
	}
	pthread_mutex_unlock(&c->lock);
	return e == OK && !buf_ok(out) ? ERR_MEMORY : e;
}

enum err status_metrics(struct status *s, struct buf *out)
{
	struct copy *c = &s->queue;
	int64_t asked_ms = clock_monotonic_ms();
	enum err e;

	pthread_mutex_lock(&c->lock);
	e = wait_for(c, asked_ms);
	if (e == ERR_AWAY && c->outcome == OK && c->began_ms != 0 && c->began_ms >= asked_ms - QUEUE_KEPT_MS)
		e = OK;
	if (e == OK)
		buf_add(out, c->columns[0].bytes, c->columns[0].len);
	pthread_mutex_unlock(&c->lock);
	return e == OK && !buf_ok(out) ? ERR_MEMORY : e;
}

void status_health(struct status *s, struct health_report *health)
{
	int64_t asked_ms = clock_monotonic_ms();

	ask_health(s, asked_ms);
	wait_for_health(s, health, asked_ms);
}
