#include "base/metrics/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/defs.h"
#include "base/process/words.h"

/* Upper bounds of buckets: of times, in µs, and of numbers of things. */
static const int64_t seconds_bounds[] = {1000,	 2500,	 5000,	  10000,   25000,   50000,   100000,
					 250000, 500000, 1000000, 2500000, 5000000, 10000000};
static const int64_t sizes_bounds[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000};

static_assert(ARRAY_LEN(seconds_bounds) < METRIC_BUCKETS_MAX, "buckets");
static_assert(ARRAY_LEN(sizes_bounds) < METRIC_BUCKETS_MAX, "buckets");

static bool is_in_seconds(const struct metric *metric)
{
	return strstr(metric->name, "_seconds") != NULL;
}

static const int64_t *bounds_of(bool seconds, unsigned *count)
{
	*count = seconds ? ARRAY_LEN(seconds_bounds) : ARRAY_LEN(sizes_bounds);
	return seconds ? seconds_bounds : sizes_bounds;
}

static bool is_given(const struct metric *metric, int label)
{
	return metric->labels[label] && strcmp(metric->words[label], METRIC_GIVEN) == 0;
}

static unsigned words_of(const struct metric *metric, int label)
{
	if (!metric->labels[label])
		return 1;
	return is_given(metric, label) ? METRIC_GIVEN_MAX : (unsigned)words_count(metric->words[label]);
}

/* Numbers of one series. */
static unsigned size_of(const struct metric *metric)
{
	unsigned bounds;

	if (metric->kind != METRIC_HISTOGRAM)
		return 1;
	(void)bounds_of(is_in_seconds(metric), &bounds);
	return bounds + 2;
}

static unsigned slots_of(const struct metric *metric)
{
	return words_of(metric, 0) * words_of(metric, 1) * size_of(metric);
}

unsigned metrics_slots(const struct metric *table, unsigned count)
{
	unsigned slots = 0;

	for (unsigned i = 0; i < count; i++)
		slots += slots_of(&table[i]);
	return slots;
}

/* FNV-1a */
static uint64_t mix(uint64_t hash, const char *text)
{
	for (; text && *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return (hash ^ '\n') * UINT64_C(0x100000001b3);
}

uint64_t metrics_fingerprint(const struct metric *table, unsigned count)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (unsigned i = 0; i < count; i++) {
		hash = mix(hash, table[i].name);
		for (int label = 0; label < 2; label++)
			hash = mix(mix(hash, table[i].labels[label]), table[i].words[label]);
		hash = (hash ^ size_of(&table[i])) * UINT64_C(0x100000001b3);
	}
	return hash;
}

void metrics_init(struct metrics *m, const struct metric *table, unsigned count, metric_number *numbers, bool shared)
{
	unsigned first = 0;

	assert(count <= METRICS_MAX);
	*m = (struct metrics){.table = table, .numbers = numbers, .count = count, .shared = shared};
	for (unsigned i = 0; i < count; i++) {
		m->first[i] = (uint16_t)first;
		m->across[i] = (uint16_t)words_of(&table[i], 1);
		m->size[i] = (uint16_t)size_of(&table[i]);
		m->seconds[i] = is_in_seconds(&table[i]);
		first += slots_of(&table[i]);
	}
	assert(first <= UINT16_MAX);
}

void metrics_observe(const struct metrics *m, unsigned metric, unsigned i, unsigned j, int64_t value, uint64_t times)
{
	unsigned count, bucket = 0;
	const int64_t *bounds = bounds_of(m->seconds[metric], &count);
	metric_number *numbers = metrics_number(m, metric, i, j);

	/* A clock that was set back. */
	value = MAX(value, 0);
	while (bucket < count && value > bounds[bucket])
		bucket++;
	metric_number_add(&numbers[bucket], times, m->shared);
	metric_number_add(&numbers[count + 1], (uint64_t)value * times, m->shared);
}

static uint64_t number_at(const metric_number *numbers, unsigned i)
{
	return atomic_load_explicit(&numbers[i], memory_order_relaxed);
}

void metrics_clear_gauges(const struct metrics *m)
{
	for (unsigned i = 0; i < m->count; i++)
		for (unsigned at = 0; m->table[i].kind == METRIC_GAUGE && at < slots_of(&m->table[i]); at++)
			atomic_store_explicit(&m->numbers[m->first[i] + at], 0, memory_order_relaxed);
}

void metrics_merge(const struct metrics *into, const metric_number *numbers, bool gauges)
{
	for (unsigned i = 0; i < into->count; i++) {
		unsigned end = into->first[i] + slots_of(&into->table[i]);

		for (unsigned at = into->first[i]; (gauges || into->table[i].kind != METRIC_GAUGE) && at < end; at++)
			metric_number_add(&into->numbers[at], number_at(numbers, at), into->shared);
	}
}

/* ---- exposition */

const char *metrics_type(enum metrics_format format)
{
	static const char *const types[] = {
		[METRICS_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
		[METRICS_OPENMETRICS] = OPENMETRICS_MEDIA_TYPE "; version=1.0.0; charset=utf-8",
	};

	return types[format];
}

/* OpenMetrics has a counter's name without what its series end with. */
static int head_name_len(const struct metric *metric, enum metrics_format format)
{
	size_t len = strlen(metric->name);

	if (format == METRICS_OPENMETRICS && metric->kind == METRIC_COUNTER)
		len -= strlen("_total");
	return (int)len;
}

void metric_write_head(struct buf *out, const struct metric *metric, enum metrics_format format)
{
	static const char *const kinds[] = {
		[METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
	int len = head_name_len(metric, format);

	buf_printf(out, "# HELP %.*s %s\n# TYPE %.*s %s\n", len, metric->name, metric->help, len, metric->name,
		   kinds[metric->kind]);
}

void metrics_write_end(struct buf *out, enum metrics_format format)
{
	if (format == METRICS_OPENMETRICS)
		buf_add_text(out, "# EOF\n");
}

/* As a decimal, without what it does not need. */
static void write_number(struct buf *out, int64_t value, bool seconds)
{
	char digits[8];
	size_t len;

	if (!seconds) {
		buf_printf(out, "%" PRId64, value);
		return;
	}
	buf_printf(out, "%" PRId64, value / 1000000);
	for (int i = 0, rest = (int)(value % 1000000); i < 6; i++, rest /= 10)
		digits[5 - i] = (char)('0' + rest % 10);
	for (len = 6; len > 0 && digits[len - 1] == '0'; len--)
		;
	if (len > 0)
		buf_printf(out, ".%.*s", (int)len, digits);
}

/* OpenMetrics and Prometheus 3 have a fraction in each, 1.0, so that one bound is one series. */
static void write_bound(struct buf *out, int64_t bound, bool seconds)
{
	write_number(out, bound, seconds);
	if (!seconds || bound % 1000000 == 0)
		buf_add_text(out, ".0");
}

/* A series on its way out. */
struct series {
	const struct metric *metric;
	const char *labels; /* of all */
	struct span words[2];
	bool seconds;
};

/*
 *	suffix	of a histogram's name
 *	le	of a bucket; NULL: it is none. Negative: +Inf
 */
static void write_line(struct buf *out, const struct series *s, const char *suffix, const int64_t *le, int64_t value,
		       bool seconds)
{
	const char *open = "{";

	buf_printf(out, "%s%s", s->metric->name, suffix);
	if (s->labels[0] != '\0') {
		buf_printf(out, "{%s", s->labels);
		open = ",";
	}
	for (int i = 0; i < 2; i++) {
		if (!s->metric->labels[i])
			continue;
		buf_printf(out, "%s%s=\"%.*s\"", open, s->metric->labels[i], (int)s->words[i].len, s->words[i].bytes);
		open = ",";
	}
	if (le) {
		buf_printf(out, "%sle=\"", open);
		if (*le < 0)
			buf_add_text(out, "+Inf");
		else
			write_bound(out, *le, s->seconds);
		buf_add_text(out, "\"");
		open = ",";
	}
	buf_add_text(out, open[0] == ',' ? "} " : " ");
	write_number(out, value, seconds);
	buf_add_text(out, "\n");
}

/* What has come meanwhile is in all that lies behind it: so _count is that of the last bucket. */
static void write_histogram(struct buf *out, const struct series *s, const metric_number *numbers)
{
	static const int64_t infinite = -1;
	unsigned count;
	const int64_t *bounds = bounds_of(s->seconds, &count);
	uint64_t sum = number_at(numbers, count + 1), observed = 0;

	for (unsigned i = 0; i <= count; i++) {
		observed += number_at(numbers, i);
		write_line(out, s, "_bucket", i < count ? &bounds[i] : &infinite, (int64_t)observed, false);
	}
	write_line(out, s, "_sum", NULL, (int64_t)sum, s->seconds);
	write_line(out, s, "_count", NULL, (int64_t)observed, false);
}

static bool is_untouched(const metric_number *numbers, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		if (number_at(numbers, i) != 0)
			return false;
	return true;
}

void metrics_write_series(struct buf *out, const struct metrics *m, unsigned metric, const char *labels,
			  const char *given)
{
	const struct metric *table = &m->table[metric];
	struct series s = {.metric = table, .labels = labels, .seconds = m->seconds[metric]};
	const char *words[2];
	unsigned counts[2];
	bool sparse = is_given(table, 0) || is_given(table, 1);

	for (int i = 0; i < 2; i++) {
		words[i] = is_given(table, i) ? given : table->words[i];
		counts[i] = table->labels[i] ? (unsigned)words_count(words[i]) : 1;
	}
	for (unsigned i = 0; i < counts[0]; i++) {
		for (unsigned j = 0; j < counts[1]; j++) {
			const metric_number *numbers = metrics_number(m, metric, i, j);

			if (sparse && is_untouched(numbers, m->size[metric]))
				continue;
			if (table->labels[0])
				s.words[0] = words_at(words[0], (int)i);
			if (table->labels[1])
				s.words[1] = words_at(words[1], (int)j);
			if (table->kind == METRIC_HISTOGRAM)
				write_histogram(out, &s, numbers);
			else
				write_line(out, &s, "", NULL, (int64_t)number_at(numbers, 0), s.seconds);
		}
	}
}

static bool is_of(struct span line, const struct metric *metric)
{
	size_t len = strlen(metric->name);

	return line.len > len && memcmp(line.bytes, metric->name, len) == 0 &&
	       (line.bytes[len] == '{' || line.bytes[len] == ' ');
}

void metrics_write_text(struct buf *out, const struct metric *table, unsigned count, struct span lines,
			enum metrics_format format)
{
	for (unsigned i = 0; i < count; i++) {
		struct span rest = lines;
		bool first = true;

		while (rest.len > 0) {
			const char *end = memchr(rest.bytes, '\n', rest.len);
			struct span line = {rest.bytes, end ? (size_t)(end - rest.bytes) : rest.len};
			size_t taken = line.len + (end != NULL);

			rest = (struct span){rest.bytes + taken, rest.len - taken};
			if (!is_of(line, &table[i]))
				continue;
			if (first)
				metric_write_head(out, &table[i], format);
			first = false;
			buf_add(out, line.bytes, line.len);
			buf_add_text(out, "\n");
		}
	}
}
