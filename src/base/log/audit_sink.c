#include "base/log/audit_sink.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log/log.h"
#include "base/log/log_fields.h"

#define SAY_EVERY_MS 60000 /* that lines cannot be written */
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

enum audit_place { AUDIT_WITH_THE_LOG, AUDIT_FILE, AUDIT_SYSLOG, AUDIT_JOURNAL };

static struct {
	enum audit_place place;
	struct log_text_style style;
	const char *path;
	int fd;	  /* of the file, or the journal's socket; -1: none */
	bool cut; /* the file ends within a line */
	bool failing;
	int64_t say_ms; /* when it may be said again */
	atomic_bool reopen;
	struct log_writer *_Atomic writer;
} the_sink = {.fd = -1};

bool audit_sink_valid(const char *where)
{
	return where[0] == '/' || strcmp(where, "syslog") == 0 || strcmp(where, "journal") == 0;
}

/* -1: errno tells. A pipe that nobody reads is none. */
static int open_file(void)
{
	return open(the_sink.path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

static int open_journal(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool is_full(int error)
{
	return error == ENOSPC || error == EDQUOT;
}

enum err audit_sink_open(const char *program, const char *where, enum log_format format, struct buf *problem)
{
	the_sink.style = (struct log_text_style){program, format, LOG_TAKER_FILE};
	the_sink.path = where;
	if (strcmp(where, "syslog") == 0) {
		openlog(program, LOG_PID, LOG_DAEMON);
		the_sink.style.taker = LOG_TAKER_SYSLOG;
		the_sink.place = AUDIT_SYSLOG;
		return OK;
	}
	if (strcmp(where, "journal") == 0) {
		the_sink.path = JOURNAL_SOCKET;
		the_sink.fd = open_journal();
		the_sink.place = AUDIT_JOURNAL;
	} else {
		the_sink.fd = open_file();
		the_sink.place = AUDIT_FILE;
	}
	if (the_sink.fd >= 0 || is_full(errno))
		return OK;
	buf_printf(problem, "TIDINGS_AUDIT_LOG: %s: %s\n", the_sink.path, strerror(errno));
	the_sink.place = AUDIT_WITH_THE_LOG;
	return ERR_CONFIG;
}

/* ---- written, by the thread */

/* Says in the log that the trail is written no more, or again. */
static bool told(bool written, int error)
{
	int64_t now_ms = clock_monotonic_ms();

	if (written && the_sink.failing)
		log_notice("the audit trail is written again place=%s lost=%" PRIu64, the_sink.path, audit_sink_lost());
	if (!written && (!the_sink.failing || now_ms >= the_sink.say_ms)) {
		log_error("the audit trail cannot be written: its lines are lost place=%s lost=%" PRIu64 " why=\"%s\"",
			  the_sink.path, audit_sink_lost(), strerror(error));
		the_sink.say_ms = now_ms + SAY_EVERY_MS;
	}
	the_sink.failing = !written;
	return written;
}

/* How much was written; less than `len`: errno tells why. */
static size_t write_whole(const char *bytes, size_t len)
{
	struct pollfd p = {.fd = the_sink.fd, .events = POLLOUT};
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(the_sink.fd, bytes + done, len - done);

		if (n < 0 && errno == EAGAIN)
			(void)poll(&p, 1, -1);
		else if (n < 0 && errno != EINTR)
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	return done;
}

/* The one that is there stays where a new one cannot be had. */
static void reopen_file(void)
{
	int fd = open_file();

	if (fd < 0 && the_sink.fd >= 0)
		log_error("the audit trail stays in the file that it was in place=%s why=\"%s\"", the_sink.path,
			  strerror(errno));
	if (fd < 0)
		return;
	if (the_sink.fd >= 0)
		close(the_sink.fd);
	the_sink.fd = fd;
	the_sink.cut = false;
}

static bool write_file(int level, const char *lines, size_t len)
{
	size_t done = 0;

	(void)level;
	if (atomic_exchange(&the_sink.reopen, false) || the_sink.fd < 0)
		reopen_file();
	if (the_sink.fd < 0)
		return told(false, errno);
	/* What a full disk has left of a line is not to be the beginning of another. */
	if (the_sink.cut && write_whole("\n", 1) == 0)
		return told(false, errno);
	the_sink.cut = false;
	done = write_whole(lines, len);
	if (done == len)
		return told(true, 0);
	the_sink.cut = done > 0 && lines[done - 1] != '\n';
	return told(false, errno);
}

static bool write_syslog(int level, const char *lines, size_t len)
{
	(void)level;
	syslog(LOG_AUTHPRIV | LOG_NOTICE, "%.*s", (int)len, lines);
	return true;
}

/* A field whose value may hold anything. */
static void add_native(struct buf *out, const char *prefix, struct span key, const char *value, size_t len)
{
	uint8_t size[8];

	buf_add_text(out, prefix);
	for (size_t i = 0; i < key.len; i++)
		buf_add(out, (char[]){(char)toupper((unsigned char)key.bytes[i])}, 1);
	for (size_t i = 0; i < sizeof(size); i++)
		size[i] = (uint8_t)((uint64_t)len >> 8 * i);
	buf_add(out, "\n", 1);
	buf_add(out, (const char *)size, sizeof(size));
	buf_add(out, value, len);
	buf_add(out, "\n", 1);
}

void audit_sink_write_native(struct buf *out, const char *program, struct span message)
{
	size_t start = log_fields_start(message);
	struct span pairs = {message.bytes + start, message.len - start};
	char value[LOG_LINE_SIZE];
	struct log_field field;

	buf_printf(out, "PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=%s\n", LOG_NOTICE, LOG_AUTHPRIV >> 3,
		   program);
	add_native(out, "MESSAGE", (struct span){"", 0}, message.bytes, message.len);
	while (log_fields_next(&pairs, &field))
		add_native(out, "TIDINGS_", field.key, value, log_fields_value(value, sizeof(value), &field));
}

/* A journal that was started again has another socket at the same path. */
static bool write_journal(int level, const char *message, size_t len)
{
	struct buf native = BUF_EMPTY;
	bool written = false;

	(void)level;
	audit_sink_write_native(&native, the_sink.style.program, (struct span){message, len});
	for (int attempt = 0; buf_ok(&native) && !written && attempt < 2; attempt++) {
		if (the_sink.fd < 0)
			the_sink.fd = open_journal();
		written = the_sink.fd >= 0 && send(the_sink.fd, native.bytes, native.len, MSG_NOSIGNAL) >= 0;
		if (!written && the_sink.fd >= 0) {
			close(the_sink.fd);
			the_sink.fd = -1;
		}
	}
	buf_free(&native);
	return told(written, errno);
}

static bool write_lines(int level, const char *lines, size_t len)
{
	switch (the_sink.place) {
	case AUDIT_WITH_THE_LOG:
		break;
	case AUDIT_FILE:
		return write_file(level, lines, len);
	case AUDIT_SYSLOG:
		return write_syslog(level, lines, len);
	case AUDIT_JOURNAL:
		return write_journal(level, lines, len);
	}
	return false;
}

/* The journal gets the message itself, and makes its fields of it. */
static size_t compose(char line[LOG_LINE_SIZE], struct span message)
{
	if (the_sink.place != AUDIT_JOURNAL)
		return log_text_compose(line, &the_sink.style, LOG_AUDIT_, message);
	memcpy(line, message.bytes, message.len);
	return message.len;
}

static struct log_line compose_lost(char line[LOG_LINE_SIZE], uint64_t lost, uint64_t lost_audit)
{
	char message[128];
	int len = snprintf(message, sizeof(message), "audit event=lost lines=%" PRIu64, lost);

	(void)lost_audit;
	return (struct log_line){LOG_AUDIT_, true, line, compose(line, (struct span){message, (size_t)len})};
}

/* ---- added, by whoever has something to say */

enum err audit_sink_start_writer(_Atomic uint64_t *lost)
{
	static struct log_sink sink = {.write = write_lines, .compose_lost = compose_lost};
	struct log_writer *writer;
	enum err e;

	if (the_sink.place == AUDIT_WITH_THE_LOG)
		return OK;
	sink.one_line_each = the_sink.place != AUDIT_FILE;
	sink.lost = lost;
	e = log_writer_start(&writer, &sink);
	if (e == OK)
		the_sink.writer = writer;
	return e;
}

bool audit_sink_is_open(void)
{
	return the_sink.place != AUDIT_WITH_THE_LOG;
}

void audit_sink_add(struct span message)
{
	struct log_writer *writer = the_sink.writer;
	char line[LOG_LINE_SIZE];
	size_t len = 0;

	len = compose(line, message);
	if (writer)
		log_writer_add(writer, &(struct log_line){LOG_AUDIT_, true, line, len});
	else
		(void)write_lines(LOG_AUDIT_, line, len);
}

void audit_sink_reopen(void)
{
	atomic_store(&the_sink.reopen, true);
}

uint64_t audit_sink_lost(void)
{
	struct log_writer *writer = the_sink.writer;

	return writer ? log_writer_lost(writer) : 0;
}
