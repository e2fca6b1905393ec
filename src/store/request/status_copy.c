#include "store/request/status_copy.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log/log.h"
#include "store/blocking/db_internal.h"

#define SLOW_AGE 5 /* times as long as it took to read */

static enum err read_row(struct status_copy *c, PGresult **row)
{
	enum err e = db_ensure(c->db);

	if (e == OK)
		e = db_query(c->db, c->statement, c->parameter ? 1 : 0, &c->parameter, NULL, NULL, row);
	return e == OK && PQntuples(*row) != 1 ? ERR_DATABASE : e;
}

/* Under the lock. */
static void take(struct status_copy *c, const PGresult *row)
{
	for (int i = 0; i < PQnfields(row); i++) {
		buf_clear(&c->columns[i]);
		buf_add(&c->columns[i], PQgetvalue(row, 0, i), (size_t)PQgetlength(row, 0, i));
		if (!buf_ok(&c->columns[i]))
			c->outcome = ERR_MEMORY;
	}
}

bool status_copy_is_true(const struct status_copy *c, int column)
{
	return c->columns[column].len > 0 && c->columns[column].bytes[0] == 't';
}

bool status_copy_is_working(const struct status_copy *c)
{
	return c->outcome == OK && (!c->db || status_copy_is_true(c, 0));
}

static void log_change(const struct status_copy *c, bool worked)
{
	if (c->works && status_copy_is_working(c) && !worked)
		log_notice("%s", c->works);
	else if (c->fails && !status_copy_is_working(c) && worked)
		log_warning("%s", c->fails);
}

static void *run(void *context)
{
	struct status_copy *c = context;
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
		worked = status_copy_is_working(c);
		c->began_ms = now_ms;
		c->began_us = now_us;
		c->took_ms = clock_monotonic_ms() - now_ms;
		c->reading_ms = 0;
		pthread_cond_broadcast(&c->done);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* True: what is in it may be given to whoever asked then. Else it is read. Under the lock. */
static bool is_fresh(struct status_copy *c, int64_t asked_ms)
{
	int64_t age_max_ms = c->age_max_ms;

	if (c->slow && c->outcome == OK && c->took_ms > STATUS_WAIT_MS)
		age_max_ms = MIN(SLOW_AGE * c->took_ms, STATUS_KEPT_MS);
	if (c->began_ms != 0 && c->began_ms >= asked_ms - age_max_ms)
		return true;
	/* What is being read may be given away then; else it is read once more. */
	if (c->order == COPY_REST && (c->reading_ms == 0 || c->reading_ms < asked_ms - age_max_ms)) {
		c->order = COPY_READ;
		pthread_cond_signal(&c->asked);
	}
	return false;
}

void status_copy_ask(struct status_copy *c, int64_t asked_ms)
{
	pthread_mutex_lock(&c->lock);
	(void)is_fresh(c, asked_ms);
	pthread_mutex_unlock(&c->lock);
}

enum err status_copy_wait(struct status_copy *c, int64_t asked_ms)
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

enum err status_copy_wait_or_keep(struct status_copy *c, int64_t asked_ms)
{
	enum err e = status_copy_wait(c, asked_ms);
	bool kept = c->outcome == OK && c->began_ms != 0 && c->began_ms >= asked_ms - STATUS_KEPT_MS;

	return e == ERR_AWAY && kept ? OK : e;
}

enum err status_copy_start(struct status_copy *c)
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

enum err status_copy_open(struct status_copy *c, const struct config *config, const char *application_name,
			  const struct status_copy *like)
{
	enum err e = like ? db_new_like(&c->db, like->db)
			  : db_new(&c->db, config->database, "tidings_status", application_name,
				   config->database_timeout_ms);

	if (e == OK)
		e = db_reopen(c->db);
	return e == OK || e == ERR_AWAY ? status_copy_start(c) : e;
}

void status_copy_close(struct status_copy *c)
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
	for (int i = 0; i < STATUS_COPY_COLUMNS_MAX; i++)
		buf_free(&c->columns[i]);
}
