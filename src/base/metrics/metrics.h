/*
 * metrics - what a program counts, and how Prometheus is told of it (its text format 0.0.4, or OpenMetrics 1.0).
 *
 * A program has one table of its metrics, in which each is a line; what it counts is an array of numbers, one for each
 * bucket of each series. So counting is an addition, and a name, a help text and a label are written once. Labels have
 * words that the table lists: what comes from outside cannot make a series.
 *
 *	table -> metrics_slots(): how many numbers -> metrics_init() -> metrics_add() … -> metrics_write()
 *
 * Where a name has "_seconds" in it, its numbers are microseconds, and are told in seconds.
 *
 * Layer    base.
 * Threads  counting and writing: any, where the metrics are `shared`; else one.
 * Memory   the numbers are the caller's.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* How they are told: the text of Prometheus, or to whoever asks for that, OpenMetrics. */
enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS };
#define OPENMETRICS_MEDIA_TYPE "application/openmetrics-text"

/* Content-Type */
const char *metrics_type(enum metrics_format format);

/* Who may read them: TIDINGS_METRICS. */
enum metrics_access { METRICS_LOCAL, METRICS_TOKEN, METRICS_OFF };
#define METRICS_LOCAL_ONLY "Metrics are told to this machine alone."

#define METRICS_MAX 96	      /* in a table */
#define METRIC_GIVEN "?"      /* the words of a label that metrics_write_series() is given */
#define METRIC_GIVEN_MAX 24   /* of those */
#define METRIC_BUCKETS_MAX 16 /* of a histogram, the last one, which has no bound, included */

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric {
	enum metric_kind kind;
	const char *name;
	const char *help;      /* a sentence without " or \ */
	const char *labels[2]; /* NULL: it has no such label */
	const char *words[2];  /* "a|b|c", or METRIC_GIVEN: a series of which nothing was counted is not told then */
};

typedef _Atomic uint64_t metric_number;

struct metrics {
	const struct metric *table;   /* borrowed */
	metric_number *numbers;	      /* borrowed */
	const char *given;	      /* of metrics_file_open(): the words of METRIC_GIVEN, as long as the numbers */
	unsigned count;		      /* of the table */
	bool shared;		      /* several threads or processes count */
	bool in_file;		      /* of metrics_file_open(): metrics_file_sum() tells the numbers */
	uint16_t first[METRICS_MAX];  /* index in `numbers` of each metric's first */
	uint16_t across[METRICS_MAX]; /* words of each one's second label, or 1 */
	uint16_t size[METRICS_MAX];   /* numbers of one series: 1; of a histogram its buckets and the sum */
	bool seconds[METRICS_MAX];    /* it is in seconds */
};

/* How many numbers a table has. */
unsigned metrics_slots(const struct metric *table, unsigned count);

/* What tells a table from others: of an older program, with other names or another order of words. */
uint64_t metrics_fingerprint(const struct metric *table, unsigned count);

/*
 *	table	borrowed
 *	numbers	borrowed: metrics_slots() of them
 */
void metrics_init(struct metrics *m, const struct metric *table, unsigned count, metric_number *numbers, bool shared);

/* The number of a series, by the indices of its words in their labels; 0 where there is no label. */
static inline metric_number *metrics_number(const struct metrics *m, unsigned metric, unsigned i, unsigned j)
{
	return &m->numbers[m->first[metric] + (i * m->across[metric] + j) * m->size[metric]];
}

static inline void metric_number_add(metric_number *number, uint64_t n, bool shared)
{
	if (shared)
		atomic_fetch_add_explicit(number, n, memory_order_relaxed);
	else
		atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + n,
				      memory_order_relaxed);
}

/* n may be negative where the metric is a gauge. */
static inline void metrics_add(const struct metrics *m, unsigned metric, unsigned i, unsigned j, int64_t n)
{
	metric_number_add(metrics_number(m, metric, i, j), (uint64_t)n, m->shared);
}

static inline void metrics_set(const struct metrics *m, unsigned metric, unsigned i, unsigned j, int64_t value)
{
	atomic_store_explicit(metrics_number(m, metric, i, j), (uint64_t)value, memory_order_relaxed);
}

/* `times` times that value, of a histogram. */
void metrics_observe(const struct metrics *m, unsigned metric, unsigned i, unsigned j, int64_t value, uint64_t times);

/* Gauges begin anew. */
void metrics_clear_gauges(const struct metrics *m);

/* Adds the numbers of another of the same table, its gauges where they are wanted. */
void metrics_merge(const struct metrics *into, const metric_number *numbers, bool gauges);

/* ---- exposition */

/* # HELP, # TYPE */
void metric_write_head(struct buf *out, const struct metric *metric, enum metrics_format format);

/*
 * All series of a metric, without its head.
 *
 *	labels	what comes before its own: `program="live"`, or ""
 *	given	words for METRIC_GIVEN, METRIC_GIVEN_MAX at most; NULL: it has no such label
 */
void metrics_write_series(struct buf *out, const struct metrics *m, unsigned metric, const char *labels,
			  const char *given);

/* What comes last of all. */
void metrics_write_end(struct buf *out, enum metrics_format format);

/*
 * Series that are text already, one a line as the format has them, below the heads of the table: lines of names that are
 * not in it are left out.
 */
void metrics_write_text(struct buf *out, const struct metric *table, unsigned count, struct span lines,
			enum metrics_format format);
