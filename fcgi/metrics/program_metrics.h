/*
 * program_metrics - what the FastCGI programs count. The names, help texts and labels are in program_metrics.def; those of
 * the queue, which the database tells, in queue_metrics.def.
 *
 * Each process counts in a file in TIDINGS_STATE (metrics_file.h), and status.fcgi tells what is in the files of all.
 *
 * Layer    fcgi.
 * Threads  any.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/metrics/metrics.h"
#include "base/process/config.h"

enum {
#define COUNTER(ID, EACH, NAME, LABEL, WORDS, LABEL2, WORDS2, HELP) METRIC_##ID,
#define GAUGE COUNTER
#define HISTOGRAM COUNTER
#include "fcgi/metrics/program_metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
	PROGRAM_METRICS_COUNT
};

/* result */
enum published { PUBLISHED_COMMITTED, PUBLISHED_REPEATED, PUBLISHED_REFUSED, PUBLISHED_FAILED };

/* The first word of routes: for a request that has none. */
#define ROUTE_NONE "none"

/*
 * This process's numbers, in its file where it can have one: else that is logged.
 *
 *	m	out: until the process ends
 *	program	static: "live"
 *	routes	"none|/ws/send|…"
 *
 * ERR_MEMORY
 */
enum err program_metrics_open(struct metrics *m, const struct config *c, const char *program,
			      const char *routes) MUST_CHECK;

/* What became of what was to be published, by the status of the answer. */
enum published program_metrics_published(int status);

/*
 * A request was answered.
 *
 *	route	index of its word in `routes`
 */
void program_metrics_request(const struct metrics *m, unsigned route, int status, int64_t took_us);

/*
 * What all programs of this machine have counted, appended.
 *
 *	own	of this process, `program`: told also where it has no file
 */
void program_metrics_write(struct buf *out, const struct config *c, const struct metrics *own, const char *program,
			   enum metrics_format format);

/*
 * What the database says of the queue, appended.
 *
 *	lines	of tidings.metrics()
 */
void queue_metrics_write(struct buf *out, struct span lines, enum metrics_format format);
