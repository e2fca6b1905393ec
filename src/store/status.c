#include "store/status.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "store/db_internal.h"

enum { NODES, STUCK, WHOLE, TOTALS, COLUMNS };

#define OUTBOX                                                                                                  \
	"'{\"outbox\":' || json_build_object('messages', o.messages, 'oldest_s', round(o.oldest_s), 'failed', " \
	"o.failed) || ', '"

static const struct db_statement status_statement = {
	"status",
	"SELECT json_array_length(s -> 'nodes'), o.stuck, " OUTBOX " || substr(s::text, 2), " OUTBOX
	" || substr((s::jsonb - 'nodes' - 'connections_by_diagnosis' - 'queued_messages_by_diagnosis')::text, 2) "
	"FROM tidings.status() AS s, tidings.outbox_state() AS o",
};
static const struct db_statement health_statement = {
	"health", "SELECT tidings.live_nodes(), o.stuck FROM tidings.outbox_state() AS o"};

/* One thing that is read for all: a row. */
struct copy {
	const struct db_statement *statement;
	int64_t age_max_ms;
	struct db *db; /* owned: the thread's */
	pthread_t thread;
	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t asked, done;
	bool wanted, stop;
	int64_t reading_ms; /* since when it is being read; 0: it is not */
	int64_t began_ms;   /* when the reading of what is here began; 0: nothing was read yet */
	int64_t began_us;   /* the same, since 1970 */
	enum err outcome;
	struct health health;
	struct buf text[COLUMNS]; /* owned; of WHOLE and TOTALS */
};

struct status {
	struct copy whole, health;
};

/* Under the lock. */
static void take(struct copy *c, const PGresult *row)
{
	c->health.nodes = strtoll(PQgetvalue(row, 0, NODES), NULL, 10);
	c->health.stuck = PQgetvalue(row, 0, STUCK)[0] == 't';
	for (int i = WHOLE; i < MIN(PQnfields(row), COLUMNS); i++) {
		buf_clear(&c->text[i]);
		buf_add(&c->text[i], PQgetvalue(row, 0, i), (size_t)PQgetlength(row, 0, i));
		if (!buf_ok(&c->text[i]))
			c->outcome = ERR_MEMORY;
	}
}

static void *run(void *context)
{
	struct copy *c = context;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		PGresult *row = NULL;
		int64_t now_ms = clock_monotonic_ms(), now_us = clock_wall_us();
		enum err e;

		if (c->stop)
			break;
		if (!c->wanted) {
			pthread_cond_wait(&c->asked, &c->lock);
			continue;
		}
		c->wanted = false;
		c->reading_ms = now_ms;
		pthread_mutex_unlock(&c->lock);
		e = db_ensure(c->db);
		if (e == OK)
			e = db_query(c->db, c->statement, 0, NULL, NULL, NULL, &row);
		if (e == OK && PQntuples(row) != 1)
			e = ERR_DATABASE;
		pthread_mutex_lock(&c->lock);
		c->outcome = e;
		if (e == OK)
			take(c, row);
		PQclear(row);
		c->began_ms = now_ms;
		c->began_us = now_us;
		c->reading_ms = 0;
		pthread_cond_broadcast(&c->done);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* Until what is in it may be given away. Under the lock. */
static enum err wait_for(struct copy *c)
{
	int64_t now_ms = clock_monotonic_ms();
	int64_t oldest_ms = now_ms - c->age_max_ms, until_ms = now_ms + STATUS_WAIT_MS;

	while (c->began_ms == 0 || c->began_ms < oldest_ms) {
		struct timespec until;

		if (c->reading_ms != 0)
			until_ms = MIN(until_ms, c->reading_ms + STATUS_WAIT_MS);
		if (clock_monotonic_ms() >= until_ms)
			return ERR_AWAY;
		if (!c->wanted) {
			c->wanted = true;
			pthread_cond_signal(&c->asked);
		}
		until = (struct timespec){.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
		(void)pthread_cond_timedwait(&c->done, &c->lock, &until);
	}
	return c->outcome;
}

static enum err copy_open(struct copy *c, const struct config *config)
{
	pthread_condattr_t monotonic;
	enum err e = db_open(&c->db, config->database, "tidings_status", "tidings status", config->database_timeout_ms);

	if (e != OK && e != ERR_AWAY)
		return e;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->asked, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&c->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (pthread_create(&c->thread, NULL, run, c) == 0)
		return OK;
	db_close(&c->db);
	return ERR_MEMORY;
}

/* NULL db: it was never opened. */
static void copy_close(struct copy *c)
{
	if (!c->db)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_signal(&c->asked);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	pthread_cond_destroy(&c->done);
	pthread_cond_destroy(&c->asked);
	pthread_mutex_destroy(&c->lock);
	db_close(&c->db);
	for (int i = 0; i < COLUMNS; i++)
		buf_free(&c->text[i]);
}

enum err status_open(struct status **out, const struct config *c)
{
	struct status *s = calloc(1, sizeof(*s));
	enum err e = s ? OK : ERR_MEMORY;

	if (e == OK) {
		s->whole.statement = &status_statement;
		s->whole.age_max_ms = STATUS_AGE_MS;
		s->health.statement = &health_statement;
		e = copy_open(&s->whole, c);
	}
	if (e == OK)
		e = copy_open(&s->health, c);
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
	free(*s);
	*s = NULL;
}

enum err status_read(struct status *s, bool totals_only, struct buf *out, struct health *health, int64_t *read_us)
{
	struct copy *c = &s->whole;
	const struct buf *text = &c->text[totals_only ? TOTALS : WHOLE];
	enum err e;

	pthread_mutex_lock(&c->lock);
	e = wait_for(c);
	if (e == OK) {
		buf_add(out, text->bytes, text->len);
		*health = c->health;
		*read_us = c->began_us;
	}
	pthread_mutex_unlock(&c->lock);
	return e == OK && !buf_ok(out) ? ERR_MEMORY : e;
}

enum err status_health(struct status *s, struct health *health)
{
	struct copy *c = &s->health;
	enum err e;

	pthread_mutex_lock(&c->lock);
	e = wait_for(c);
	if (e == OK)
		*health = c->health;
	pthread_mutex_unlock(&c->lock);
	return e;
}
