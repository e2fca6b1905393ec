#include "base/log/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"

#define LINE_SIZE 2048
#define AUDIT_ALONE_BYTES (LOG_RING_BYTES / 4)
#define TAKEN_BYTES PIPE_BUF /* more in one write(2) could be mixed with another program's */
#define END_WAIT_S 5	     /* without a line that is taken, before the end waits no longer */

static struct {
	const char *program;
	enum log_level up_to;
	int to_syslog;
	bool to_journal;
} the_log = {.program = "tidings", .up_to = LOG_INFO_};

static const char *level_text(enum log_level level)
{
	switch (level) {
	case LOG_OFF_:
		break;
	case LOG_ERROR_:
		return "error";
	case LOG_WARNING_:
		return "warning";
	case LOG_AUDIT_:
	case LOG_NOTICE_:
		return "notice";
	case LOG_INFO_:
		return "info";
	case LOG_DEBUG_:
		return "debug";
	}
	return "unknown";
}

static int syslog_priority(enum log_level level)
{
	switch (level) {
	case LOG_OFF_:
		break;
	case LOG_ERROR_:
		return LOG_ERR;
	case LOG_WARNING_:
		return LOG_WARNING;
	case LOG_AUDIT_:
	case LOG_NOTICE_:
		return LOG_NOTICE;
	case LOG_INFO_:
		return LOG_INFO;
	case LOG_DEBUG_:
		return LOG_DEBUG;
	}
	return LOG_ERR;
}

/* systemd tells its device and inode: a child whose stderr leads elsewhere inherits the variable, too (systemd.exec(5)). */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device = 0;
	uintmax_t inode = 0;
	struct stat at;
	char *end = NULL;

	if (!stream || fstat(STDERR_FILENO, &at) != 0)
		return false;
	device = strtoumax(stream, &end, 10);
	if (*end != ':')
		return false;
	inode = strtoumax(end + 1, &end, 10);
	return *end == '\0' && device == at.st_dev && inode == at.st_ino;
}

void log_open(const char *program, enum log_level up_to, int to_syslog)
{
	the_log.program = program;
	the_log.up_to = up_to;
	the_log.to_syslog = to_syslog;
	the_log.to_journal = !to_syslog && stderr_is_journal();
	if (to_syslog)
		openlog(program, LOG_PID, LOG_DAEMON);
}

/* A line stays a line, whatever a caller forgot to quote. */
static void flatten(char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = ' ';
}

/* What of snprintf()'s answer is really there. */
static size_t written(int answer, size_t size)
{
	if (answer < 0)
		return 0;
	return MIN((size_t)answer, size - 1);
}

/* The whole line, with a newline where it goes to stderr; its length. */
static size_t PRINTF(3, 0) compose(char line[LINE_SIZE], enum log_level level, const char *format, va_list args)
{
	size_t size = LINE_SIZE - 1; /* the newline's place */
	char now[CLOCK_TEXT_SIZE];
	int saved_errno = errno;
	size_t head = 0;
	size_t len = 0;

	if (the_log.to_journal)
		head = written(snprintf(line, size, "<%d>", syslog_priority(level)), size);
	else if (!the_log.to_syslog)
		head = written(snprintf(line, size, "%s %s[%d] %s: ", clock_text(now, clock_wall_us()), the_log.program,
					(int)getpid(), level_text(level)),
			       size);
	errno = saved_errno; /* for %m */
	len = head + written(vsnprintf(line + head, size - head, format, args), size - head);
	flatten(line, len);
	if (!the_log.to_syslog)
		line[len++] = '\n';
	return len;
}

/* Waits for whoever reads it. False: it cannot be written. */
static bool deliver(enum log_level level, const char *lines, size_t len)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	size_t done = 0;

	if (the_log.to_syslog) {
		syslog(syslog_priority(level), "%.*s", (int)len, lines);
		return true;
	}
	while (done < len) {
		ssize_t n = write(STDERR_FILENO, lines + done, len - done);

		/* Somebody who has the same pipe may have made it non-blocking. */
		if (n < 0 && errno == EAGAIN)
			(void)poll(&p, 1, -1);
		else if (n < 0 && errno != EINTR)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* ---- the ring */

struct entry {
	uint16_t len;
	int8_t level;
};

static struct {
	pthread_mutex_t lock;	    /* of all that follows */
	pthread_cond_t filled;	    /* for the writer */
	pthread_cond_t taken;	    /* for the end */
	bool open;		    /* lines go through it */
	bool idle;		    /* the writer waits */
	bool failing;		    /* what was written last could not be: a full disk */
	uint64_t takings;	    /* how many times the writer has come back from writing */
	uint64_t lost, lost_audit;  /* not told yet; lost_audit of lost */
	size_t start, used;	    /* bytes */
	char bytes[LOG_RING_BYTES]; /* an entry and its line, one behind the other, round the end */
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

static bool ring_add(enum log_level level, const char *line, size_t len)
{
	struct entry e = {(uint16_t)len, (int8_t)level};
	size_t kept = level == LOG_AUDIT_ ? 0 : AUDIT_ALONE_BYTES;

	if (the_ring.used + sizeof(e) + len > LOG_RING_BYTES - kept)
		return false;
	ring_put(&e, sizeof(e));
	ring_put(line, len);
	return true;
}

/* Lines that are written together. */
struct batch {
	size_t len;	       /* bytes */
	uint64_t count, audit; /* lines; audit of count */
	enum log_level level;  /* of the last */
	char bytes[TAKEN_BYTES];
};

/* Whole lines, as many as fit; to syslog one, which has a priority of its own. False: there is none. */
static bool ring_take(struct batch *b)
{
	struct entry e = {0, 0};

	b->len = 0;
	b->count = b->audit = 0;
	while (the_ring.used > 0 && (b->len == 0 || !the_log.to_syslog)) {
		ring_look(&e, 0, sizeof(e));
		if (b->len + e.len > TAKEN_BYTES)
			break;
		ring_look(b->bytes + b->len, sizeof(e), e.len);
		b->len += e.len;
		b->level = (enum log_level)e.level;
		b->count++;
		b->audit += b->level == LOG_AUDIT_;
		the_ring.start = (the_ring.start + sizeof(e) + e.len) % LOG_RING_BYTES;
		the_ring.used -= sizeof(e) + e.len;
	}
	return b->len > 0;
}

static size_t PRINTF(3, 4) compose_own(char line[LINE_SIZE], enum log_level level, const char *format, ...)
{
	va_list args;
	size_t len = 0;

	va_start(args, format);
	len = compose(line, level, format, args);
	va_end(args);
	return len;
}

/*
 * Not before the ring is half empty: or the count would take the room of what is counted. Nor while nothing can be
 * written.
 */
static void tell_lost(void)
{
	char line[LINE_SIZE];
	size_t len = 0;

	if (the_ring.lost == 0 || the_ring.failing || the_ring.used > LOG_RING_BYTES / 2)
		return;
	len = compose_own(line, LOG_WARNING_,
			  "log lines were lost: nobody took them, or they could not be written lines=%" PRIu64
			  " audit=%" PRIu64,
			  the_ring.lost, the_ring.lost_audit);
	if (ring_add(LOG_WARNING_, line, len))
		the_ring.lost = the_ring.lost_audit = 0;
}

static void *write_lines(void *unused)
{
	struct batch b;

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
		written = deliver(b.level, b.bytes, b.len);
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

enum err log_start_writer(void)
{
	enum err e = thread_start(write_lines, NULL);

	if (e != OK)
		return e;
	atexit(end_writer);
	pthread_mutex_lock(&the_ring.lock);
	the_ring.open = true;
	pthread_mutex_unlock(&the_ring.lock);
	return OK;
}

/* False: there is no writer. */
static bool leave_to_writer(enum log_level level, const char *line, size_t len)
{
	bool open = false;

	pthread_mutex_lock(&the_ring.lock);
	open = the_ring.open;
	if (open && !ring_add(level, line, len)) {
		the_ring.lost++;
		the_ring.lost_audit += level == LOG_AUDIT_;
	}
	if (open && the_ring.idle)
		pthread_cond_signal(&the_ring.filled);
	pthread_mutex_unlock(&the_ring.lock);
	return open;
}

void log_write(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	char line[LINE_SIZE];
	size_t len = 0;
	va_list args;

	if (level > the_log.up_to)
		return;
	va_start(args, format);
	len = compose(line, level, format, args);
	va_end(args);
	if (!leave_to_writer(level, line, len))
		(void)deliver(level, line, len);
	errno = saved_errno;
}

static int is_plain(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("_.:/@+-", c));
}

const char *log_quote(char *out, size_t out_size, const char *text, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	size_t plain = 0;
	size_t used = 0;

	assert(out_size >= 8);
	while (plain < len && is_plain(text[plain]))
		plain++;
	if (len > 0 && plain == len && len < out_size) {
		memcpy(out, text, len);
		out[len] = '\0';
		return out;
	}
	out[used++] = '"';
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		int escape = c < 0x20 || c > 0x7e || c == '"' || c == '\\';

		if (used + (escape ? 4 : 1) + 2 > out_size)
			break;
		if (escape) {
			out[used++] = '\\';
			out[used++] = 'x';
			out[used++] = hex[c >> 4];
			out[used++] = hex[c & 15];
		} else {
			out[used++] = (char)c;
		}
	}
	out[used++] = '"';
	out[used] = '\0';
	return out;
}
