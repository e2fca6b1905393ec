#include "store/publisher.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"

#define BATCH_MAX_BYTES (4 << 20) /* of bodies: a batch is held in memory a few times over */
#define RECONNECT_FIRST_MS 100
#define RECONNECT_MAX_MS 2000

struct waiter {
	TAILQ_ENTRY(waiter) entry;
	struct publish_request *request; /* borrowed */
	enum err outcome;
	sem_t done; /* not the lock: those who are woken would all meet at it */
};

TAILQ_HEAD(waiters, waiter);

struct publisher {
	const struct config *config; /* borrowed */
	pthread_t thread;
	struct db *db;		     /* the thread's */
	struct publish_batch *batch; /* the thread's */
	struct waiter **taken;	     /* the thread's: what is in the batch under way */
	struct publish_request **requests;
	int64_t away_since_ms; /* the thread's; 0: it is not away */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t work;  /* something gathered, or stop */
	struct waiters gathered;
	bool away; /* nobody is to queue */
	bool stop;
};

static void wake(struct waiter *w, enum err outcome)
{
	w->outcome = outcome;
	sem_post(&w->done);
}

/* The front of the queue, as far as it fits a batch; a request is never split. Under the lock. */
static size_t take_batch(struct publisher *p)
{
	size_t count = 0;
	size_t items = 0;
	size_t bytes = 0;
	struct waiter *w = NULL;

	while ((w = TAILQ_FIRST(&p->gathered))) {
		const struct publications *publications = w->request->publications;
		size_t more_bytes = 0;

		for (size_t i = 0; i < publications->count; i++)
			more_bytes += publications->items[i].body.len;
		if (count > 0 && (items + publications->count > (size_t)p->config->batch_max ||
				  bytes + more_bytes > BATCH_MAX_BYTES))
			break;
		TAILQ_REMOVE(&p->gathered, w, entry);
		p->taken[count] = w;
		p->requests[count++] = w->request;
		items += publications->count;
		bytes += more_bytes;
		if (count == (size_t)p->config->batch_max)
			break;
	}
	return count;
}

static void set_away(struct publisher *p, bool away)
{
	struct waiter *w = NULL;

	pthread_mutex_lock(&p->lock);
	p->away = away;
	while (away && (w = TAILQ_FIRST(&p->gathered))) {
		TAILQ_REMOVE(&p->gathered, w, entry);
		wake(w, ERR_AWAY);
	}
	pthread_mutex_unlock(&p->lock);
	if (away && p->away_since_ms == 0) {
		p->away_since_ms = clock_monotonic_ms();
		log_error("publishing stops: database away");
	} else if (!away && p->away_since_ms != 0) {
		log_notice("publishing goes on: database is back away_ms=%lld",
			   (long long)(clock_monotonic_ms() - p->away_since_ms));
		p->away_since_ms = 0;
	}
}

/* One request that the database cannot take must not cost the others theirs: then each is tried alone. */
static void run_batch(struct publisher *p, size_t count)
{
	enum err e = db_ensure(p->db);
	bool alone = false;

	if (e == OK)
		e = publish_batch_run(p->batch, p->db, p->requests, count);
	alone = e == ERR_DATABASE && count > 1;
	for (size_t i = 0; i < count; i++) {
		enum err outcome = alone ? publish_batch_run(p->batch, p->db, &p->requests[i], 1) : e;

		wake(p->taken[i], outcome);
	}
	if (!db_is_open(p->db))
		set_away(p, true);
}

/* False: stop. Under the lock. */
static bool wait_for_work(struct publisher *p)
{
	while (!p->stop && TAILQ_EMPTY(&p->gathered))
		pthread_cond_wait(&p->work, &p->lock);
	return !TAILQ_EMPTY(&p->gathered);
}

/* False: stop. */
static bool wait_to_reconnect(struct publisher *p, int64_t wait_ms)
{
	struct timespec until;
	bool go_on = true;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += wait_ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&p->lock);
	while (!p->stop && pthread_cond_timedwait(&p->work, &p->lock, &until) == 0)
		;
	go_on = !p->stop;
	pthread_mutex_unlock(&p->lock);
	return go_on;
}

static void *run(void *arg)
{
	struct backoff backoff = {.first_ms = RECONNECT_FIRST_MS, .max_ms = RECONNECT_MAX_MS};
	struct publisher *p = arg;
	bool go_on = true;

	while (go_on) {
		size_t count = 0;

		if (!db_is_open(p->db)) {
			set_away(p, true);
			go_on = wait_to_reconnect(p, backoff_wait_ms(&backoff, backoff_random()));
			if (!go_on || db_reopen(p->db) != OK)
				continue;
			backoff_reset(&backoff);
			set_away(p, false);
		}
		pthread_mutex_lock(&p->lock);
		go_on = wait_for_work(p);
		if (go_on)
			count = take_batch(p);
		pthread_mutex_unlock(&p->lock);
		if (count > 0)
			run_batch(p, count);
	}
	return NULL;
}

enum err publisher_publish(struct publisher *p, struct publish_request *r)
{
	struct waiter w = {.request = r, .outcome = ERR_AWAY};
	bool waiting = false;

	sem_init(&w.done, 0, 0);
	pthread_mutex_lock(&p->lock);
	if (!p->away) {
		TAILQ_INSERT_TAIL(&p->gathered, &w, entry);
		waiting = true;
	}
	pthread_mutex_unlock(&p->lock);
	if (waiting) {
		pthread_cond_signal(&p->work);
		while (sem_wait(&w.done) != 0 && errno == EINTR)
			;
	}
	sem_destroy(&w.done);
	return w.outcome;
}

static void release(struct publisher *p)
{
	publish_batch_free(&p->batch);
	db_close(&p->db);
	free(p->taken);
	free(p->requests);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

enum err publisher_start(struct publisher **out, const struct config *c)
{
	struct publisher *p = calloc(1, sizeof(*p));
	pthread_condattr_t monotonic;
	enum err e = OK;

	if (!p)
		return ERR_MEMORY;
	p->config = c;
	TAILQ_INIT(&p->gathered);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&p->work, &monotonic);
	pthread_condattr_destroy(&monotonic);
	p->taken = calloc((size_t)c->batch_max, sizeof(struct waiter *));
	p->requests = calloc((size_t)c->batch_max, sizeof(struct publish_request *));
	e = p->taken && p->requests ? publish_batch_new(&p->batch, c) : ERR_MEMORY;
	if (e == OK)
		e = db_open(&p->db, c->database, "tidings_publisher", "tidings broadcast", c->database_timeout_ms);
	p->away = e == ERR_AWAY;
	if (e != OK && e != ERR_AWAY) {
		release(p);
		return e;
	}
	if (pthread_create(&p->thread, NULL, run, p) != 0) {
		release(p);
		return ERR_SYSTEM;
	}
	*out = p;
	return OK;
}

void publisher_stop(struct publisher **out)
{
	struct publisher *p = *out;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	release(p);
	*out = NULL;
}
