#include "store/publish/publisher.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log/log.h"

#define BATCH_MAX_BYTES (4 << 20) /* of bodies: a batch is held in memory a few times over */
#define PARTS 8			  /* a batch that failed is tried again in so many */
#define SKIP_MS 1000		  /* after a topic was locked for longer than a batch takes, nobody waits for any */
#define SHARED_TIME 4		  /* a batch has this part of the time that a statement has */
#define BUSY_FIRST_MS 2
#define BUSY_MAX_MS 50
#define RECONNECT_FIRST_MS 100
#define RECONNECT_MAX_MS 2000

struct waiter {
	TAILQ_ENTRY(waiter) entry;
	struct publish_request *request; /* borrowed */
	enum err outcome;
	int64_t until_ms;	/* tried again until then */
	int64_t due_ms;		/* in busy: the next try */
	struct backoff backoff; /* of its tries */
	uint64_t part;		/* in failed: those with the same number are tried together */
	bool slow;		/* took too long when it was alone: now it has all its time */
	sem_t done;		/* not the lock: those who are woken would all meet at it */
};

TAILQ_HEAD(waiters, waiter);

struct publisher {
	const struct config *config;	     /* borrowed */
	const struct publisher_watch *watch; /* borrowed */
	pthread_t thread;
	struct db *db;		     /* the thread's */
	struct publish_batch *batch; /* the thread's */
	struct waiter **taken;	     /* the thread's: what is in the batch under way */
	struct publish_request **requests;
	struct waiters busy;   /* the thread's: to be tried again when due */
	struct waiters failed; /* the thread's: whose batch failed, part by part */
	uint64_t parts;	       /* the thread's: numbers given */
	int64_t skip_until_ms; /* the thread's: topics that are locked are not waited for */
	bool failed_last;      /* the thread's: the last batch was from `failed` */
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

struct publisher_batch {
	size_t count, items, bytes;
	bool slow; /* what is in it is alone, and slow */
};

/* Puts the first that waits into the batch; a request is never split. False: it does not fit. */
static bool take(struct publisher *p, struct publisher_batch *b, struct waiters *from, struct waiter *w)
{
	const struct publications *publications = w->request->publications;
	size_t bytes = 0;

	for (size_t i = 0; i < publications->count; i++)
		bytes += publications->items[i].body.len;
	if (b->count > 0 && (b->items + publications->count > (size_t)p->config->batch_max ||
			     b->bytes + bytes > BATCH_MAX_BYTES || b->count == (size_t)p->config->batch_max))
		return false;
	TAILQ_REMOVE(from, w, entry);
	p->taken[b->count] = w;
	p->requests[b->count++] = w->request;
	b->items += publications->count;
	b->bytes += bytes;
	return true;
}

/* What is due, and then what is new, as far as it fits a batch. Under the lock. */
static struct publisher_batch take_new(struct publisher *p)
{
	int64_t now_ms = clock_monotonic_ms();
	struct publisher_batch b = {0};
	struct waiter *w = NULL;
	struct waiter *next = NULL;

	for (w = TAILQ_FIRST(&p->busy); w; w = next) {
		next = TAILQ_NEXT(w, entry);
		if (w->due_ms <= now_ms && !take(p, &b, &p->busy, w))
			return b;
	}
	while ((w = TAILQ_FIRST(&p->gathered)) && take(p, &b, &p->gathered, w))
		;
	return b;
}

/* The first part of a batch that failed. */
static struct publisher_batch take_failed(struct publisher *p)
{
	struct publisher_batch b = {0};
	struct waiter *w = TAILQ_FIRST(&p->failed);
	uint64_t part = w->part;

	while ((w = TAILQ_FIRST(&p->failed)) && w->part == part && take(p, &b, &p->failed, w))
		;
	b.slow = b.count == 1 && p->taken[0]->slow;
	return b;
}

/* Whoever is to blame that a batch failed, the others have waited long enough. */
static void give_up_failed(struct publisher *p)
{
	int64_t arrived_before_ms = clock_monotonic_ms() - p->config->database_timeout_ms;
	struct waiter *next = NULL;

	for (struct waiter *w = TAILQ_FIRST(&p->failed); w; w = next) {
		next = TAILQ_NEXT(w, entry);
		if (w->until_ms > arrived_before_ms)
			continue;
		TAILQ_REMOVE(&p->failed, w, entry);
		wake(w, ERR_BUSY);
	}
}

/* Under the lock. */
static struct publisher_batch take_batch(struct publisher *p)
{
	struct publisher_batch b = {0};

	give_up_failed(p);
	if (TAILQ_EMPTY(&p->failed) || p->failed_last)
		b = take_new(p);
	p->failed_last = b.count == 0 && !TAILQ_EMPTY(&p->failed);
	return p->failed_last ? take_failed(p) : b;
}

static void wake_all(struct waiters *all, enum err outcome)
{
	struct waiter *w = NULL;

	while ((w = TAILQ_FIRST(all))) {
		TAILQ_REMOVE(all, w, entry);
		wake(w, outcome);
	}
}

static void set_away(struct publisher *p, bool away)
{
	pthread_mutex_lock(&p->lock);
	p->away = away;
	if (away)
		wake_all(&p->gathered, ERR_AWAY);
	pthread_mutex_unlock(&p->lock);
	if (away) {
		wake_all(&p->busy, ERR_AWAY);
		wake_all(&p->failed, ERR_AWAY);
	}
	if (away && p->away_since_ms == 0) {
		p->away_since_ms = clock_monotonic_ms();
		log_error("publishing stops: database away");
	} else if (!away && p->away_since_ms != 0) {
		log_notice("publishing goes on: database is back away_ms=%lld",
			   (long long)(clock_monotonic_ms() - p->away_since_ms));
		p->away_since_ms = 0;
	}
}

/* To be tried again after a while, if there is one left. */
static void postpone(struct publisher *p, struct waiter *w)
{
	int64_t now_ms = clock_monotonic_ms();

	if (now_ms >= w->until_ms) {
		wake(w, ERR_BUSY);
		return;
	}
	w->due_ms = MIN(now_ms + backoff_wait_ms(&w->backoff, backoff_random()), w->until_ms);
	TAILQ_INSERT_TAIL(&p->busy, w, entry);
}

/* One request that the database cannot take must not cost the others theirs: so it is looked for, and takes its time last. */
static void divide(struct publisher *p, const struct publisher_batch *b)
{
	size_t each = (b->count + PARTS - 1) / PARTS;

	p->taken[0]->slow = b->count == 1;
	for (size_t i = 0; i < b->count; i++) {
		if (i % each == 0)
			p->parts++;
		p->taken[i]->part = p->parts;
		TAILQ_INSERT_TAIL(&p->failed, p->taken[i], entry);
	}
}

/* Other batches are waited for. Where somebody takes longer than that, whoever needs what they have is tried again. */
static enum err publish(struct publisher *p, const struct publisher_batch *b)
{
	bool skip = clock_monotonic_ms() < p->skip_until_ms;
	enum err e = publish_batch_run(p->batch, p->db, p->requests, b->count, skip);

	if (e != ERR_BUSY || skip)
		return e;
	p->skip_until_ms = clock_monotonic_ms() + SKIP_MS;
	return publish_batch_run(p->batch, p->db, p->requests, b->count, true);
}

static void run_batch(struct publisher *p, const struct publisher_batch *b)
{
	int64_t statement_ms = p->config->database_timeout_ms, began_us = clock_monotonic_us();
	enum err e = db_ensure(p->db);

	if (e == OK)
		e = db_limit(p->db, b->slow ? statement_ms : statement_ms / SHARED_TIME);
	if (e == OK)
		e = publish(p, b);
	if (e == OK)
		p->watch->committed(p->watch->context, clock_monotonic_us() - began_us, b->items);
	if ((e == ERR_BUSY && !b->slow) || (e == ERR_DATABASE && b->count > 1)) {
		divide(p, b);
		return;
	}
	for (size_t i = 0; i < b->count; i++) {
		if (e == ERR_BUSY || (e == OK && p->requests[i]->busy))
			postpone(p, p->taken[i]);
		else
			wake(p->taken[i], e);
	}
	if (!db_is_open(p->db))
		set_away(p, true);
}

static struct timespec timespec_of(int64_t monotonic_ms)
{
	return (struct timespec){.tv_sec = monotonic_ms / 1000, .tv_nsec = monotonic_ms % 1000 * 1000000};
}

/* When one of those that are busy is due; INT64_MAX: there is none. */
static int64_t next_due_ms(const struct publisher *p)
{
	int64_t due_ms = INT64_MAX;
	struct waiter *w = NULL;

	TAILQ_FOREACH (w, &p->busy, entry)
		due_ms = MIN(due_ms, w->due_ms);
	return due_ms;
}

/* False: stop. Under the lock. */
static bool wait_for_work(struct publisher *p)
{
	int64_t due_ms = next_due_ms(p);
	struct timespec until = timespec_of(due_ms);

	while (!p->stop && TAILQ_EMPTY(&p->gathered) && TAILQ_EMPTY(&p->failed) && clock_monotonic_ms() < due_ms) {
		if (due_ms == INT64_MAX)
			pthread_cond_wait(&p->work, &p->lock);
		else
			(void)pthread_cond_timedwait(&p->work, &p->lock, &until);
	}
	return !p->stop;
}

/* False: stop. */
static bool wait_to_reconnect(struct publisher *p, int64_t wait_ms)
{
	struct timespec until = timespec_of(clock_monotonic_ms() + wait_ms);
	bool go_on = true;

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
		struct publisher_batch batch = {0};

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
			batch = take_batch(p);
		pthread_mutex_unlock(&p->lock);
		if (batch.count > 0)
			run_batch(p, &batch);
	}
	return NULL;
}

enum err publisher_publish(struct publisher *p, struct publish_request *r)
{
	struct waiter w = {
		.request = r,
		.outcome = ERR_AWAY,
		.until_ms = clock_monotonic_ms() + p->config->database_timeout_ms,
		.backoff = {.first_ms = BUSY_FIRST_MS, .max_ms = BUSY_MAX_MS},
	};
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

enum err publisher_start(struct publisher **out, const struct config *c, const struct publisher_watch *watch)
{
	struct publisher *p = calloc(1, sizeof(*p));
	pthread_condattr_t monotonic;
	enum err e = OK;

	if (!p)
		return ERR_MEMORY;
	*p = (struct publisher){.config = c, .watch = watch};
	TAILQ_INIT(&p->gathered);
	TAILQ_INIT(&p->busy);
	TAILQ_INIT(&p->failed);
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
