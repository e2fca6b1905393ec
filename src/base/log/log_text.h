/*
 * log_text - a line of the log as text: what stands before the message, and its form.
 *
 *	logfmt	2026-11-21T10:00:00.123Z tidings-ws[812] notice: listening port=8001
 *	json	{"time":"2026-11-21T10:00:00.123Z","level":"notice","program":"tidings-ws","pid":812,"msg":"listening","port":"8001"}
 *
 * Layer    base.
 * Threads  any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/defs.h"
#include "base/log/log_writer.h"

/*
 * LOG_OFF_ is for log_open() alone: a program at a terminal, which tells its user itself. LOG_AUDIT_ is for
 * audit_write() alone: a notice that is written whatever the level is.
 */
enum log_level { LOG_OFF_ = -2, LOG_AUDIT_, LOG_ERROR_, LOG_WARNING_, LOG_NOTICE_, LOG_INFO_, LOG_DEBUG_ };

/* As TIDINGS_LOG_FORMAT has them. */
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

/* Who takes the lines, and what that one knows without being told. */
enum log_taker {
	LOG_TAKER_FILE, /* nothing */
	LOG_TAKER_JOURNAL, /* behind stderr: time, program and process; the priority stands before the line (sd-daemon(3)) */
	LOG_TAKER_SYSLOG, /* all of it; the line has no newline */
};

struct log_text_style {
	const char *program;
	enum log_format format;
	enum log_taker taker;
};

/* The whole line; its length. */
size_t log_text_compose(char line[LOG_LINE_SIZE], const struct log_text_style *style, enum log_level level,
			struct span message);

/* As syslog(3) has them: LOG_ERR, … */
int log_text_priority(enum log_level level);
