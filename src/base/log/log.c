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

#include "base/log/log_writer.h"

static struct {
	struct log_text_style style;
	_Atomic enum log_level up_to;
	struct log_writer *_Atomic writer; /* NULL: a line is written where it is logged */
} the_log = {.style = {.program = "tidings"}, .up_to = LOG_INFO_};

static _Thread_local const struct log_subject *the_subject; /* lent; NULL: none */

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
	the_log.style.program = program;
	the_log.style.taker = to_syslog ? LOG_TAKER_SYSLOG : stderr_is_journal() ? LOG_TAKER_JOURNAL : LOG_TAKER_FILE;
	the_log.up_to = up_to;
	if (to_syslog)
		openlog(program, LOG_PID, LOG_DAEMON);
}

void log_set_format(enum log_format format)
{
	the_log.style.format = format;
}

void log_set_level(enum log_level up_to)
{
	the_log.up_to = up_to;
}

void log_set_subject(const struct log_subject *subject)
{
	the_subject = subject;
}

const struct log_subject *log_get_subject(void)
{
	return the_subject;
}

/* What of snprintf()'s answer is really there. */
static size_t there(int answer, size_t size)
{
	if (answer < 0)
		return 0;
	return MIN((size_t)answer, size - 1);
}

static size_t add_field(char *out, size_t size, const char *key, const char *value)
{
	char quoted[LOG_SUBJECT_VALUE_SIZE];

	if (!value)
		return 0;
	return there(snprintf(out, size, " %s=%s", key, log_quote(quoted, sizeof(quoted), value, strlen(value))), size);
}

/* Its length; `size` is at least 1. */
static size_t add_subject(char *out, size_t size)
{
	const struct log_subject *s = the_subject;
	size_t len = 0;

	out[0] = '\0';
	if (!s)
		return 0;
	len += add_field(out + len, size - len, "connection", s->connection_id);
	len += add_field(out + len, size - len, "user", s->user_id);
	len += add_field(out + len, size - len, "client", s->client);
	len += add_field(out + len, size - len, "request", s->request_id);
	len += add_field(out + len, size - len, "trace", s->trace_id);
	return len;
}

static size_t PRINTF(2, 0) compose_message(char message[LOG_LINE_SIZE], const char *format, va_list args)
{
	size_t len = there(vsnprintf(message, LOG_LINE_SIZE, format, args), LOG_LINE_SIZE);

	return len + add_subject(message + len, LOG_LINE_SIZE - len);
}

size_t log_message(char message[LOG_LINE_SIZE], const char *format, ...)
{
	va_list args;
	size_t len = 0;

	va_start(args, format);
	len = compose_message(message, format, args);
	va_end(args);
	return len;
}

/* Waits for whoever reads it. False: it cannot be written. */
static bool deliver(int level, const char *lines, size_t len)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	size_t done = 0;

	if (the_log.style.taker == LOG_TAKER_SYSLOG) {
		syslog(log_text_priority((enum log_level)level), "%.*s", (int)len, lines);
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

static struct log_line compose_lost(char line[LOG_LINE_SIZE], uint64_t lost, uint64_t lost_audit)
{
	char message[200];
	size_t len = there(snprintf(message, sizeof(message),
				    "log lines were lost: nobody took them, or they could not be written lines=%" PRIu64
				    " audit=%" PRIu64,
				    lost, lost_audit),
			   sizeof(message));

	len = log_text_compose(line, &the_log.style, LOG_WARNING_, (struct span){message, len});
	return (struct log_line){LOG_WARNING_, false, line, len};
}

enum err log_start_writer(void)
{
	static struct log_sink sink = {.write = deliver, .compose_lost = compose_lost};
	struct log_writer *writer;
	enum err e;

	sink.one_line_each = the_log.style.taker == LOG_TAKER_SYSLOG;
	e = log_writer_start(&writer, &sink);
	if (e == OK)
		the_log.writer = writer;
	return e;
}

void log_vwrite(enum log_level level, const char *format, va_list args)
{
	int saved_errno = errno;
	char message[LOG_LINE_SIZE], line[LOG_LINE_SIZE];
	struct log_writer *writer;
	size_t len = 0;

	if (level > the_log.up_to)
		return;
	len = compose_message(message, format, args);
	len = log_text_compose(line, &the_log.style, level, (struct span){message, len});
	writer = the_log.writer;
	if (writer)
		log_writer_add(writer, &(struct log_line){level, level == LOG_AUDIT_, line, len});
	else
		(void)deliver(level, line, len);
	errno = saved_errno;
}

void log_write(enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_vwrite(level, format, args);
	va_end(args);
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
