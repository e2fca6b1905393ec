#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_SIZE 2048

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

void log_write(enum log_level level, const char *format, ...)
{
	char line[LINE_SIZE];
	char now[CLOCK_TEXT_SIZE];
	size_t size = sizeof(line) - 1; /* the newline's place */
	int saved_errno = errno;
	size_t head = 0;
	size_t len = 0;
	va_list args;

	if (level > the_log.up_to)
		return;
	if (the_log.to_journal)
		head = written(snprintf(line, size, "<%d>", syslog_priority(level)), size);
	else if (!the_log.to_syslog)
		head = written(snprintf(line, size, "%s %s[%d] %s: ", clock_text(now, clock_wall_us()), the_log.program,
					(int)getpid(), level_text(level)),
			       size);
	errno = saved_errno; /* for %m */
	va_start(args, format);
	len = head + written(vsnprintf(line + head, size - head, format, args), size - head);
	va_end(args);
	flatten(line, len);
	if (the_log.to_syslog) {
		syslog(syslog_priority(level), "%.*s", (int)len, line);
	} else {
		line[len] = '\n';
		/* There is nobody to tell when stderr itself cannot be written to. */
		while (write(STDERR_FILENO, line, len + 1) < 0 && errno == EINTR)
			;
	}
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
