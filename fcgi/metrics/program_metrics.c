#include "fcgi/metrics/program_metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log/log.h"
#include "base/metrics/metrics_file.h"
#include "base/process/words.h"

#define HTTP_STATUSES \
	"200|204|400|401|403|404|405|408|409|411|413|414|415|416|417|422|426|429|431|500|501|502|503|504|other"

static const struct metric table[] = {
#define COUNTER(ID, EACH, NAME, LABEL, WORDS, LABEL2, WORDS2, HELP) \
	[METRIC_##ID] = {METRIC_COUNTER, NAME, HELP, {LABEL, LABEL2}, {WORDS, WORDS2}},
#define GAUGE(ID, EACH, NAME, LABEL, WORDS, LABEL2, WORDS2, HELP) \
	[METRIC_##ID] = {METRIC_GAUGE, NAME, HELP, {LABEL, LABEL2}, {WORDS, WORDS2}},
#define HISTOGRAM(ID, EACH, NAME, LABEL, WORDS, LABEL2, WORDS2, HELP) \
	[METRIC_##ID] = {METRIC_HISTOGRAM, NAME, HELP, {LABEL, LABEL2}, {WORDS, WORDS2}},
#include "fcgi/metrics/program_metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};

/* Is it told of each program by itself? */
static const bool of_each[] = {
#define COUNTER(ID, EACH, NAME, LABEL, WORDS, LABEL2, WORDS2, HELP) [METRIC_##ID] = EACH,
#define GAUGE COUNTER
#define HISTOGRAM COUNTER
#include "fcgi/metrics/program_metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};

static const struct metric queue_table[] = {
#define COUNTER(NAME, LABEL, HELP) {METRIC_COUNTER, NAME, HELP, {LABEL}, {NULL}},
#define GAUGE(NAME, LABEL, HELP) {METRIC_GAUGE, NAME, HELP, {LABEL}, {NULL}},
#include "fcgi/metrics/queue_metrics.def"
#undef COUNTER
#undef GAUGE
};

static const char *const programs[] = {"api", "broadcast", "history", "live", "status"};

enum err program_metrics_open(struct metrics *m, const struct config *c, const char *program, const char *routes)
{
	struct buf problem = BUF_EMPTY;
	enum err e = metrics_file_open(m, table, ARRAY_LEN(table), c->state, program, routes, &problem);

	if (problem.len > 0)
		log_warning("what is counted here no other program can tell: %s", problem.bytes);
	buf_free(&problem);
	return e;
}

enum published program_metrics_published(int status)
{
	return status < 400 ? PUBLISHED_COMMITTED : status < 500 ? PUBLISHED_REFUSED : PUBLISHED_FAILED;
}

void program_metrics_request(const struct metrics *m, unsigned route, int status, int64_t took_us)
{
	char text[16];
	int at = 0;

	snprintf(text, sizeof(text), "%d", status);
	at = words_index(HTTP_STATUSES, text);
	if (at < 0)
		at = words_index(HTTP_STATUSES, "other");
	metrics_add(m, METRIC_HTTP_REQUESTS, route, (unsigned)at, 1);
	metrics_observe(m, METRIC_HTTP_REQUEST_DURATION, route, 0, took_us, 1);
}

/* What the processes of one program have counted. */
struct counted {
	struct metrics sum;
	struct buf routes; /* empty: there is nothing of it */
};

static void sum_of(struct counted *p, const char *program, const struct config *c, const struct metrics *own,
		   const char *own_program)
{
	bool found = c->state && *c->state && metrics_file_sum(&p->sum, c->state, program, &p->routes) == OK;

	if (!found)
		buf_clear(&p->routes);
	if (own->in_file || strcmp(program, own_program) != 0)
		return;
	if (!found)
		buf_add_text(&p->routes, own->given);
	if (buf_ok(&p->routes) && strcmp(p->routes.bytes, own->given) == 0)
		metrics_merge(&p->sum, own->numbers, true);
}

static void write_of_each(struct buf *out, const struct counted *of, unsigned metric)
{
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		char label[40];

		if (of[i].routes.len == 0)
			continue;
		snprintf(label, sizeof(label), "program=\"%s\"", programs[i]);
		metrics_write_series(out, &of[i].sum, metric, label, of[i].routes.bytes);
	}
}

void program_metrics_write(struct buf *out, const struct config *c, const struct metrics *own, const char *program,
			   enum metrics_format format)
{
	unsigned slots = metrics_slots(table, ARRAY_LEN(table));
	metric_number *numbers = calloc((ARRAY_LEN(programs) + 1) * slots, sizeof(*numbers));
	struct counted of[ARRAY_LEN(programs)] = {0};
	struct metrics all;

	if (!numbers) {
		out->failed = true;
		return;
	}
	metrics_init(&all, table, ARRAY_LEN(table), numbers, false);
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		metrics_init(&of[i].sum, table, ARRAY_LEN(table), numbers + (i + 1) * slots, false);
		sum_of(&of[i], programs[i], c, own, program);
		metrics_merge(&all, of[i].sum.numbers, true);
	}
	for (unsigned i = 0; i < ARRAY_LEN(table); i++) {
		metric_write_head(out, &table[i], format);
		if (of_each[i])
			write_of_each(out, of, i);
		else
			metrics_write_series(out, &all, i, "", NULL);
	}
	for (size_t i = 0; i < ARRAY_LEN(programs); i++)
		buf_free(&of[i].routes);
	free(numbers);
}

void queue_metrics_write(struct buf *out, struct span lines, enum metrics_format format)
{
	metrics_write_text(out, queue_table, ARRAY_LEN(queue_table), lines, format);
}
