#include "base/log/log_writer.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/thread.h"

#define AUDIT_ALONE_BYTES (LOG_RING_BYTES / 4)
#define TAKEN_BYTES PIPE_BUF /* more in one write(2) could be mixed with another program's */
#define END_WAIT_S 5	     /* without a line that is taken, before the end waits no longer */

struct ring_entry {
	uint16_t len;
	int8_t level;
	int8_t audit;
};

struct log_writer {
	struct log_writer *next;     /* in writers */
	const struct log_sink *sink; /* borrowed */
	pthread_mutex_t lock;	     /* of all that follows */
	pthread_cond_t filled;	     /* for the thread */
	pthread_cond_t taken;	     /* for the end */
	bool idle;		     /* the thread waits */
	bool failing;		     /* what was written last could not be: a full disk */
	uint64_t takings;	     /* how many times the thread has come back from writing */
	uint64_t lost, lost_audit;   /* not told yet; lost_audit of lost */
	uint64_t lost_ever;	     /* lines, told or not */
	size_t start, used;	     /* bytes */
	char bytes[LOG_RING_BYTES];  /* an entry and its line, one behind the other, round the end */
};

static struct log_writer *writers; /* all of them, for the end; programs start them in one thread */

static void ring_put(struct log_writer *w, const void *bytes, size_t len)
{
	size_t at = (w->start + w->used) % LOG_RING_BYTES;
	size_t first = MIN(len, LOG_RING_BYTES - at);

	memcpy(w->bytes + at, bytes, first);
	memcpy(w->bytes, (const char *)bytes + first, len - first);
	w->used += len;
}

/* `skip` bytes behind the start. */
static void ring_look(const struct log_writer *w, void *out, size_t skip, size_t len)
{
	size_t at = (w->start + skip) % LOG_RING_BYTES;
	size_t first = MIN(len, LOG_RING_BYTES - at);

	memcpy(out, w->bytes + at, first);
	memcpy((char *)out + first, w->bytes, len - first);
}

static bool ring_add(struct log_writer *w, const struct log_line *line)
{
	struct ring_entry e = {(uint16_t)line->len, (int8_t)line->level, line->audit};
	size_t kept = line->audit ? 0 : AUDIT_ALONE_BYTES;

	if (w->used + sizeof(e) + line->len > LOG_RING_BYTES - kept)
		return false;
	ring_put(w, &e, sizeof(e));
	ring_put(w, line->text, line->len);
	return true;
}

/* Lines that are written together. */
struct log_batch {
	size_t len;	       /* bytes */
	uint64_t count, audit; /* lines; audit of count */
	int level;	       /* of the last */
	char bytes[TAKEN_BYTES];
};

/* Whole lines, as many as fit; where each has a level of its own, one. False: there is none. */
static bool ring_take(struct log_writer *w, struct log_batch *b)
{
	struct ring_entry e = {0};

	b->len = 0;
	b->count = b->audit = 0;
	while (w->used > 0 && (b->len == 0 || !w->sink->one_line_each)) {
		ring_look(w, &e, 0, sizeof(e));
		if (b->len + e.len > TAKEN_BYTES)
			break;
		ring_look(w, b->bytes + b->len, sizeof(e), e.len);
		b->len += e.len;
		b->level = e.level;
		b->count++;
		b->audit += e.audit != 0;
		w->start = (w->start + sizeof(e) + e.len) % LOG_RING_BYTES;
		w->used -= sizeof(e) + e.len;
	}
	return b->len > 0;
}

/*
 * Not before the ring is half empty: or the count would take the room of what is counted. Nor while nothing can be
 * written.
 */
static void tell_lost(struct log_writer *w)
{
	char text[LOG_LINE_SIZE];
	struct log_line line;

	if (w->lost == 0 || w->failing || w->used > LOG_RING_BYTES / 2)
		return;
	line = w->sink->compose_lost(text, w->lost, w->lost_audit);
	if (ring_add(w, &line))
		w->lost = w->lost_audit = 0;
}

static void count_lost(struct log_writer *w, uint64_t lines, uint64_t audit)
{
	w->lost += lines;
	w->lost_audit += audit;
	w->lost_ever += lines;
	if (w->sink->lost)
		atomic_fetch_add_explicit(w->sink->lost, lines, memory_order_relaxed);
}

static void *write_lines(void *context)
{
	struct log_writer *w = context;
	struct log_batch b;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		bool written = false;

		tell_lost(w);
		if (!ring_take(w, &b)) {
			w->idle = true;
			pthread_cond_signal(&w->taken);
			pthread_cond_wait(&w->filled, &w->lock);
			w->idle = false;
			continue;
		}
		pthread_mutex_unlock(&w->lock);
		written = w->sink->write(b.level, b.bytes, b.len);
		pthread_mutex_lock(&w->lock);
		w->failing = !written;
		if (!written)
			count_lost(w, b.count, b.audit);
		w->takings++;
		pthread_cond_signal(&w->taken);
	}
	return NULL;
}

/* Everything that was logged is written first, unless nobody reads. */
static void end_writer(struct log_writer *w)
{
	pthread_mutex_lock(&w->lock);
	while (!(w->idle && w->used == 0)) {
		struct timespec until;
		uint64_t before = w->takings;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += END_WAIT_S;
		if (pthread_cond_timedwait(&w->taken, &w->lock, &until) == ETIMEDOUT && w->takings == before)
			break;
	}
	pthread_mutex_unlock(&w->lock);
}

/* The program's end. */
static void end_writers(void)
{
	for (struct log_writer *w = writers; w; w = w->next)
		end_writer(w);
}

enum err log_writer_start(struct log_writer **out, const struct log_sink *sink)
{
	struct log_writer *w = calloc(1, sizeof(*w));
	enum err e = OK;

	if (!w)
		return ERR_MEMORY;
	w->sink = sink;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->filled, NULL);
	pthread_cond_init(&w->taken, NULL);
	e = thread_start(write_lines, w);
	if (e != OK) {
		free(w);
		return e;
	}
	if (!writers)
		atexit(end_writers);
	w->next = writers;
	writers = w;
	*out = w;
	return OK;
}

void log_writer_add(struct log_writer *w, const struct log_line *line)
{
	pthread_mutex_lock(&w->lock);
	if (!ring_add(w, line))
		count_lost(w, 1, line->audit);
	if (w->idle)
		pthread_cond_signal(&w->filled);
	pthread_mutex_unlock(&w->lock);
}

uint64_t log_writer_lost(struct log_writer *w)
{
	uint64_t lost;

	pthread_mutex_lock(&w->lock);
	lost = w->lost_ever;
	pthread_mutex_unlock(&w->lock);
	return lost;
}
