/*
 * metrics_file - numbers of a program in mapped files, so that another program of the machine can tell them.
 *
 * A FastCGI program has no port that Prometheus could ask, and there may be several processes of it. So each process
 * counts in a file of its own, `<program>.<n>.metrics`, on which it holds a lock; what reads them adds them up. A process
 * that ends leaves its file, and the next that begins takes it over and counts on: what was counted by those that have
 * ended is kept, and there are never more files than there were processes at once. The lock ends with its process,
 * however that ends; gauges are taken of files that are locked, and begin anew in one that is taken over.
 *
 * Layer    base.
 * Threads  the file's numbers: any, in any process.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/metrics/metrics.h"

#define METRICS_FILES_MAX 64	/* of a program */
#define METRICS_GIVEN_SIZE 1024 /* bytes of the words that its labels are given */

/*
 * This process's numbers. Where no file can be had, for want of a folder or of room, they are in its own memory, and
 * only it can tell them.
 *
 *	m	out: shared; its numbers stay until the process ends
 *	folder	NULL or "": there is none
 *	program	a file name
 *	given	the words of METRIC_GIVEN
 *	problem	out: why there is no file, for the log; "": there is one, or no folder
 *
 * ERR_MEMORY
 */
enum err metrics_file_open(struct metrics *m, const struct metric *table, unsigned count, const char *folder,
			   const char *program, const char *given, struct buf *problem) MUST_CHECK;

/*
 * The sum of a program's files. Files of another table, of a program that is older or newer, are left out, and so are
 * those with other words than the first in which somebody counts; where nobody does, than the first.
 *
 *	sum	metrics_init(), all 0; not shared
 *	given	out: appended: the words of METRIC_GIVEN
 *
 * ERR_NOT_FOUND  it has none
 */
enum err metrics_file_sum(const struct metrics *sum, const char *folder, const char *program,
			  struct buf *given) MUST_CHECK;
