#include "base/log/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log/log_writer.h"

static struct {
	const char *program;
	_Atomic enum log_level up_to;
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

void log_set_level(enum log_level up_to)
{
	the_log.up_to = up_to;
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
static size_t PRINTF(3, 0) compose(char line[LOG_LINE_SIZE], enum log_level level, const char *format, va_list args)
{
	size_t size = LOG_LINE_SIZE - 1; /* the newline's place */
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
static bool deliver(int level, const char *lines, size_t len)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	size_t done = 0;

	if (the_log.to_syslog) {
		syslog(syslog_priority((enum log_level)level), "%.*s", (int)len, lines);
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

static size_t PRINTF(3, 4) compose_own(char line[LOG_LINE_SIZE], enum log_level level, const char *format, ...)
{
	va_list args;
	size_t len = 0;

	va_start(args, format);
	len = compose(line, level, format, args);
	va_end(args);
	return len;
}

static struct log_line compose_lost(char line[LOG_LINE_SIZE], uint64_t lost, uint64_t lost_audit)
{
	size_t len = compose_own(line, LOG_WARNING_,
				 "log lines were lost: nobody took them, or they could not be written lines=%" PRIu64
				 " audit=%" PRIu64,
				 lost, lost_audit);

	return (struct log_line){LOG_WARNING_, false, line, len};
}

enum err log_start_writer(void)
{
	static struct log_sink sink = {.write = deliver, .compose_lost = compose_lost};

	sink.one_line_each = the_log.to_syslog;
	return log_writer_start(&sink);
}

void log_write(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	char line[LOG_LINE_SIZE];
	size_t len = 0;
	va_list args;

	if (level > the_log.up_to)
		return;
	va_start(args, format);
	len = compose(line, level, format, args);
	va_end(args);
	if (!log_writer_add(&(struct log_line){level, level == LOG_AUDIT_, line, len}))
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
