/*
 * log_writer - a thread that writes lines of the log, and the ring in which they wait for it. The log has one, and the audit trail, where
 * it has a place of its own, another: neither waits for the other's.
 *
 * Lines wait in order. Those that find no room, or cannot be written (a full disk), are lost and counted; the count is a
 * line itself, as soon as there is room. The last quarter of the ring is for the audit trail alone. The program's end
 * waits until the ring is written, for as long as somebody reads.
 *
 * Layer    base: knows nothing of levels and formats.
 * Threads  any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

#define LOG_RING_BYTES (1 << 20)
#define LOG_LINE_SIZE 2048

struct log_line {
	int level;	  /* handed on to sink.write() */
	bool audit;	  /* of the audit trail */
	const char *text; /* borrowed */
	size_t len;	  /* less than LOG_LINE_SIZE */
};

struct log_sink {
	/* Whole lines, at most PIPE_BUF bytes. Waits for whoever reads them. False: they cannot be written. */
	bool (*write)(int level, const char *lines, size_t len);
	/* The line that tells how many were lost; lost_audit of them of the audit trail. */
	struct log_line (*compose_lost)(char line[LOG_LINE_SIZE], uint64_t lost, uint64_t lost_audit);
	bool one_line_each;	/* lines are written one at a time: each has a level of its own */
	_Atomic uint64_t *lost; /* borrowed; lines that were lost are added to it. NULL: none */
};

struct log_writer; /* opaque */

/*
 * Starts a thread, until the program's end.
 *
 *	sink	borrowed, for good
 *
 * ERR_SYSTEM  there is no thread
 * ERR_MEMORY
 */
enum err log_writer_start(struct log_writer **w, const struct log_sink *sink) MUST_CHECK;

/* Leaves the line to the thread. */
void log_writer_add(struct log_writer *w, const struct log_line *line);

/* Lines that were lost so far. */
uint64_t log_writer_lost(struct log_writer *w);
