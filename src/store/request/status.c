#include "store/request/status.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/process/http_probe.h"
#include "store/admin/schema.h"
#include "store/blocking/db_internal.h"
#include "store/request/status_copy.h"

#define OUTBOX                                                                                                  \
	"'{\"outbox\":' || json_build_object('messages', o.messages, 'oldest_s', round(o.oldest_s), 'failed', " \
	"o.failed) || ', '"

/* What has names or ids in it looks at every topic. */
static const struct statement whole_statement = {
	"status", "SELECT " OUTBOX " || substr(s::text, 2) FROM tidings.status() AS s, tidings.outbox_state() AS o"};

static const struct statement totals_statement = {
	"totals",
	"SELECT " OUTBOX " || substr(s::text, 2) FROM tidings.status(false) AS s, tidings.outbox_state() AS o"};

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

struct status {
	struct status_copy whole, totals, health, queue, commit, sidecar;
	struct http_probe probe;
};

enum err status_open(struct status **out, const struct config *c)
{
	struct status *s = calloc(1, sizeof(*s));
	enum err e = s ? OK : ERR_MEMORY;

	if (e == OK) {
		http_probe_init(&s->probe, c->ws_socket, c->ws_address, c->ws_port);
		s->whole =
			(struct status_copy){.statement = &whole_statement, .age_max_ms = STATUS_AGE_MS, .slow = true};
		s->totals = (struct status_copy){.statement = &totals_statement, .age_max_ms = STATUS_AGE_MS};
		s->queue = (struct status_copy){.statement = &queue_statement, .age_max_ms = QUEUE_AGE_MS};
		s->health = (struct status_copy){.statement = &health_statement, .parameter = schema_files};
		s->commit = (struct status_copy){
			.statement = &commit_statement,
			.age_max_ms = STATUS_AGE_MS,
			.works = "publishing works: commits are done again",
			.fails = "publishing does not work: the database is read-only, away, or a commit waits for a "
				 "standby",
		};
		s->sidecar = (struct status_copy){
			.sidecar = &s->probe,
			.age_max_ms = STATUS_AGE_MS,
			.works = "the sidecar answers again",
			.fails = "the sidecar does not answer (TIDINGS_WS_SOCKET, else TIDINGS_WS_ADDRESS and "
				 "TIDINGS_WS_PORT)",
		};
		e = status_copy_open(&s->whole, c, "tidings status", NULL);
	}
	if (e == OK)
		e = status_copy_open(&s->totals, c, "tidings status", &s->whole);
	if (e == OK)
		e = status_copy_open(&s->health, c, "tidings status", &s->whole);
	if (e == OK)
		e = status_copy_open(&s->queue, c, "tidings status", &s->whole);
	/* A commit that waits for its standby says nothing about the server. */
	if (e == OK)
		e = status_copy_open(&s->commit, c, COMMIT_NAME, NULL);
	if (e == OK)
		e = status_copy_start(&s->sidecar);
	if (e != OK)
		status_close(&s);
	*out = s;
	return e;
}

void status_close(struct status **s)
{
	if (!*s)
		return;
	status_copy_close(&(*s)->whole);
	status_copy_close(&(*s)->totals);
	status_copy_close(&(*s)->health);
	status_copy_close(&(*s)->queue);
	status_copy_close(&(*s)->commit);
	status_copy_close(&(*s)->sidecar);
	http_probe_close(&(*s)->probe);
	free(*s);
	*s = NULL;
}

static void ask_health(struct status *s, int64_t asked_ms)
{
	status_copy_ask(&s->health, asked_ms);
	status_copy_ask(&s->commit, asked_ms);
	status_copy_ask(&s->sidecar, asked_ms);
}

static enum condition condition_of(bool healthy)
{
	return healthy ? HEALTHY : UNHEALTHY;
}

/* Whether it works, as far as that is known in time. */
static enum condition wait_for_condition(struct status_copy *c, int64_t asked_ms)
{
	enum condition condition;

	pthread_mutex_lock(&c->lock);
	condition = condition_of(status_copy_wait(c, asked_ms) == OK && status_copy_is_working(c));
	pthread_mutex_unlock(&c->lock);
	return condition;
}

static void wait_for_health(struct status *s, struct health_report *health, int64_t asked_ms)
{
	struct status_copy *c = &s->health;
	enum condition *checks = health->checks, nodes = UNKNOWN;

	checks[CHECK_RELAY] = health->schema = UNKNOWN;
	pthread_mutex_lock(&c->lock);
	checks[CHECK_DATABASE] = condition_of(status_copy_wait(c, asked_ms) == OK);
	if (checks[CHECK_DATABASE] == HEALTHY) {
		nodes = condition_of(status_copy_is_true(c, NODES_LIVE));
		checks[CHECK_RELAY] = condition_of(status_copy_is_true(c, RELAY_MOVES));
		health->schema = condition_of(status_copy_is_true(c, SCHEMA_FITS));
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
	struct status_copy *c = totals_only ? &s->totals : &s->whole;
	const struct buf *text = &c->columns[0];
	enum err e;

	status_copy_ask(c, asked_ms);
	ask_health(s, asked_ms);
	wait_for_health(s, health, asked_ms);
	pthread_mutex_lock(&c->lock);
	/* Of a database that hangs nothing is told. */
	e = health->checks[CHECK_DATABASE] == HEALTHY ? status_copy_wait_or_keep(c, asked_ms)
						      : status_copy_wait(c, asked_ms);
	if (e == OK) {
		buf_add(out, text->bytes, text->len);
		*read_us = c->began_us;
	}
	pthread_mutex_unlock(&c->lock);
	return e == OK && !buf_ok(out) ? ERR_MEMORY : e;
}

enum err status_metrics(struct status *s, struct buf *out)
{
	struct status_copy *c = &s->queue;
	int64_t asked_ms = clock_monotonic_ms();
	enum err e;

	pthread_mutex_lock(&c->lock);
	e = status_copy_wait_or_keep(c, asked_ms);
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
