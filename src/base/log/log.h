/*
 * log - one line per event, to stderr or syslog.
 *
 *	2026-11-21T10:00:00.123Z tidings-ws[812] notice: listening port=8001
 *
 * Where stderr is systemd's journal, which knows time, program and process, the priority goes before the line as it takes it
 * (sd-daemon(3)):
 *
 *	<5>listening port=8001
 *
 * A message is a few words, then key=value pairs; a value with a space or a control character in it is quoted and
 * escaped by the caller's use of log_quote(). Tokens, keys, passwords and message bodies never go in. As JSON (log_set_format()) the
 * same pairs are members of an object (log_fields.h).
 *
 * What a thread's lines are about (log_set_subject()) is added to each of them as pairs:
 *
 *	connection	its id
 *	user		whose it is
 *	client		address of the client
 *	request, trace	ids that a request brought or was given
 *
 * A program that serves leaves the writing to a thread (log_start_writer()): a stderr that nobody reads, or a journal that
 * stands still, holds up neither its loop nor its threads. Lines wait in a ring (log_writer.h); those that find no room, or
 * cannot be written, are lost and counted. What a crash finds in the ring is lost.
 *
 *	… warning: log lines were lost: nobody took them, or they could not be written lines=1012 audit=3
 *
 * Layer    base.
 * Threads  any. Lines that are written together are whole lines, at most PIPE_BUF bytes: programs may share a pipe.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/log/log_text.h"

#define LOG_SUBJECT_VALUE_SIZE 300 /* what is longer is escaped to its length */

/* What lines are about. NULL: not known. */
struct log_subject {
	const char *connection_id;
	const char *user_id;
	const char *client;
	const char *request_id;
	const char *trace_id;
};

/*
 * Call once, before threads.
 *
 *	program		borrowed, for good
 *	to_syslog	else stderr; whether that is the journal is found out here
 */
void log_open(const char *program, enum log_level up_to, int to_syslog);

/* Once, after log_open(), before threads. logfmt otherwise. */
void log_set_format(enum log_format format);

/* What this thread's lines are about from now on: lent, until the next; NULL: nothing. */
void log_set_subject(const struct log_subject *subject);
/* NULL: nothing. */
const struct log_subject *log_get_subject(void);

/* Any thread may, at any time. */
void log_set_level(enum log_level up_to);

/*
 * From now on a thread writes the lines, until the program's end. Call at most once, after log_open().
 *
 * ERR_SYSTEM  there is no thread: each line is written where it is logged, as before
 */
enum err log_start_writer(void) MUST_CHECK;

void log_write(enum log_level level, const char *format, ...) PRINTF(2, 3);
void log_vwrite(enum log_level level, const char *format, va_list args) PRINTF(2, 0);

/* The message of a line, with what this thread's lines are about; its length. */
size_t log_message(char message[LOG_LINE_SIZE], const char *format, ...) PRINTF(2, 3);

/*
 * Text of a client made safe for a log line: control characters, quotes, backslashes and non-ASCII as \xNN, cut at
 * `out_size`; in quotes of its own when it is empty or holds more than [A-Za-z0-9_.:/@+-]. Returns `out`.
 *
 *	out_size	at least 8
 */
const char *log_quote(char *out, size_t out_size, const char *text, size_t len);

#define log_error(...) log_write(LOG_ERROR_, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING_, __VA_ARGS__)
#define log_notice(...) log_write(LOG_NOTICE_, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO_, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG_, __VA_ARGS__)
