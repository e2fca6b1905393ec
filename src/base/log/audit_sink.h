/*
 * audit_sink - a place of its own for the audit trail: a file, syslog, or the journal.
 *
 * Neither the log's level nor a rate holds a line back. A thread writes: nobody waits for a disk. What cannot be written (a full
 * disk) or finds no room (log_writer.h) is lost and counted; the log says so, and once it goes on so does the trail itself.
 *
 *	file	appended to, whole lines in one write(2): programs may share it. audit_sink_reopen() begins a new one, after its name
 *		was given to another
 *	syslog	facility authpriv, priority notice
 *	journal	its own protocol, each pair a field: journalctl TIDINGS_USER=456
 *
 * Layer    base.
 * Threads  audit_sink_open() once, before threads; then any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/log/log_text.h"

/* What TIDINGS_AUDIT_LOG may be: an absolute path, `syslog` or `journal`. */
bool audit_sink_valid(const char *where);

/*
 * From now on the trail goes there. A file that there is no room for is tried again with each line.
 *
 *	program	borrowed, for good
 *	where	borrowed, for good
 *	problem	a line that says what is wrong is added
 *
 * ERR_CONFIG  the file cannot be opened, or nothing takes lines there
 */
enum err audit_sink_open(const char *program, const char *where, enum log_format format,
			 struct buf *problem) MUST_CHECK;

/*
 * A thread writes from now on; without it each line is written where it is added. Call at most once, after audit_sink_open().
 *
 *	lost	borrowed, for good: lines that are lost are added to it. NULL: none
 */
enum err audit_sink_start_writer(_Atomic uint64_t *lost) MUST_CHECK;

/* The trail has a place of its own. */
bool audit_sink_is_open(void);

/* Only where it has. */
void audit_sink_add(struct span message);

/* The file is opened anew before the next line. */
void audit_sink_reopen(void);

/* Lines that were lost since the start. */
uint64_t audit_sink_lost(void);

/* The message in the journal's own protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ */
void audit_sink_write_native(struct buf *out, const char *program, struct span message);
