#include "base/log/log_writer.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
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

static struct {
	pthread_mutex_t lock;	     /* of all that follows */
	pthread_cond_t filled;	     /* for the writer */
	pthread_cond_t taken;	     /* for the end */
	const struct log_sink *sink; /* NULL: there is no writer */
	bool idle;		     /* the writer waits */
	bool failing;		     /* what was written last could not be: a full disk */
	uint64_t takings;	     /* how many times the writer has come back from writing */
	uint64_t lost, lost_audit;   /* not told yet; lost_audit of lost */
	size_t start, used;	     /* bytes */
	char bytes[LOG_RING_BYTES];  /* an entry and its line, one behind the other, round the end */
} the_ring = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.filled = PTHREAD_COND_INITIALIZER,
	.taken = PTHREAD_COND_INITIALIZER,
};

static void ring_put(const void *bytes, size_t len)
{
	size_t at = (the_ring.start + the_ring.used) % LOG_RING_BYTES;
	size_t first = MIN(len, LOG_RING_BYTES - at);

	memcpy(the_ring.bytes + at, bytes, first);
	memcpy(the_ring.bytes, (const char *)bytes + first, len - first);
	the_ring.used += len;
}

/* `skip` bytes behind the start. */
static void ring_look(void *out, size_t skip, size_t len)
{
	size_t at = (the_ring.start + skip) % LOG_RING_BYTES;
	size_t first = MIN(len, LOG_RING_BYTES - at);

	memcpy(out, the_ring.bytes + at, first);
	memcpy((char *)out + first, the_ring.bytes, len - first);
}

static bool ring_add(const struct log_line *line)
{
	struct ring_entry e = {(uint16_t)line->len, (int8_t)line->level, line->audit};
	size_t kept = line->audit ? 0 : AUDIT_ALONE_BYTES;

	if (the_ring.used + sizeof(e) + line->len > LOG_RING_BYTES - kept)
		return false;
	ring_put(&e, sizeof(e));
	ring_put(line->text, line->len);
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
static bool ring_take(struct log_batch *b)
{
	struct ring_entry e = {0};

	b->len = 0;
	b->count = b->audit = 0;
	while (the_ring.used > 0 && (b->len == 0 || !the_ring.sink->one_line_each)) {
		ring_look(&e, 0, sizeof(e));
		if (b->len + e.len > TAKEN_BYTES)
			break;
		ring_look(b->bytes + b->len, sizeof(e), e.len);
		b->len += e.len;
		b->level = e.level;
		b->count++;
		b->audit += e.audit != 0;
		the_ring.start = (the_ring.start + sizeof(e) + e.len) % LOG_RING_BYTES;
		the_ring.used -= sizeof(e) + e.len;
	}
	return b->len > 0;
}

/*
 * Not before the ring is half empty: or the count would take the room of what is counted. Nor while nothing can be
 * written.
 */
static void tell_lost(void)
{
	char text[LOG_LINE_SIZE];
	struct log_line line;

	if (the_ring.lost == 0 || the_ring.failing || the_ring.used > LOG_RING_BYTES / 2)
		return;
	line = the_ring.sink->compose_lost(text, the_ring.lost, the_ring.lost_audit);
	if (ring_add(&line))
		the_ring.lost = the_ring.lost_audit = 0;
}

static void *write_lines(void *unused)
{
	struct log_batch b;

	pthread_mutex_lock(&the_ring.lock);
	for (;;) {
		bool written = false;

		tell_lost();
		if (!ring_take(&b)) {
			the_ring.idle = true;
			pthread_cond_signal(&the_ring.taken);
			pthread_cond_wait(&the_ring.filled, &the_ring.lock);
			the_ring.idle = false;
			continue;
		}
		pthread_mutex_unlock(&the_ring.lock);
		written = the_ring.sink->write(b.level, b.bytes, b.len);
		pthread_mutex_lock(&the_ring.lock);
		the_ring.failing = !written;
		the_ring.lost += written ? 0 : b.count;
		the_ring.lost_audit += written ? 0 : b.audit;
		the_ring.takings++;
		pthread_cond_signal(&the_ring.taken);
	}
	return unused;
}

/* The program's end: everything that was logged is written first, unless nobody reads. */
static void end_writer(void)
{
	pthread_mutex_lock(&the_ring.lock);
	while (!(the_ring.idle && the_ring.used == 0)) {
		struct timespec until;
		uint64_t before = the_ring.takings;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += END_WAIT_S;
		if (pthread_cond_timedwait(&the_ring.taken, &the_ring.lock, &until) == ETIMEDOUT &&
		    the_ring.takings == before)
			break;
	}
	pthread_mutex_unlock(&the_ring.lock);
}

enum err log_writer_start(const struct log_sink *sink)
{
	enum err e = OK;

	/* Locked: the thread looks at the sink first. */
	pthread_mutex_lock(&the_ring.lock);
	e = thread_start(write_lines, NULL);
	if (e == OK) {
		the_ring.sink = sink;
		atexit(end_writer);
	}
	pthread_mutex_unlock(&the_ring.lock);
	return e;
}

bool log_writer_add(const struct log_line *line)
{
	bool open = false;

	pthread_mutex_lock(&the_ring.lock);
	open = the_ring.sink != NULL;
	if (open && !ring_add(line)) {
		the_ring.lost++;
		the_ring.lost_audit += line->audit;
	}
	if (open && the_ring.idle)
		pthread_cond_signal(&the_ring.filled);
	pthread_mutex_unlock(&the_ring.lock);
	return open;
}
