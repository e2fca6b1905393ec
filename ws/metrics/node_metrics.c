#include "ws/metrics/node_metrics.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log/audit_sink.h"
#include "base/metrics/process_usage.h"
#include "base/process/words.h"
#include "store/wire/conninfo.h"
#include "ws/node.h"

static const struct metric table[] = {
#define COUNTER(ID, NAME, LABEL, WORDS, LABEL2, WORDS2, HELP) \
	[METRIC_##ID] = {METRIC_COUNTER, NAME, HELP, {LABEL, LABEL2}, {WORDS, WORDS2}},
#define GAUGE(ID, NAME, LABEL, WORDS, LABEL2, WORDS2, HELP) \
	[METRIC_##ID] = {METRIC_GAUGE, NAME, HELP, {LABEL, LABEL2}, {WORDS, WORDS2}},
#define HISTOGRAM(ID, NAME, LABEL, WORDS, LABEL2, WORDS2, HELP) \
	[METRIC_##ID] = {METRIC_HISTOGRAM, NAME, HELP, {LABEL, LABEL2}, {WORDS, WORDS2}},
#include "ws/metrics/node_metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};

enum err node_metrics_init(struct node *n)
{
	metric_number *numbers = calloc(metrics_slots(table, ARRAY_LEN(table)), sizeof(*numbers));

	if (!numbers)
		return ERR_MEMORY;
	metrics_init(&n->metrics, table, ARRAY_LEN(table), numbers, false);
	metrics_set(&n->metrics, METRIC_PROCESS_START_TIME, 0, 0, clock_wall_us());
	return OK;
}

void node_metrics_free(struct node *n)
{
	free(n->metrics.numbers);
	n->metrics.numbers = NULL;
}

void node_count(const struct node *n, unsigned metric)
{
	metrics_add(&n->metrics, metric, 0, 0, 1);
}

uint64_t node_counted(const struct node *n, unsigned metric)
{
	const struct metric *m = &table[metric];
	unsigned words = m->labels[0] ? (unsigned)words_count(m->words[0]) : 1;
	uint64_t sum = 0;

	for (unsigned i = 0; i < words; i++)
		sum += atomic_load_explicit(metrics_number(&n->metrics, metric, i, 0), memory_order_relaxed);
	return sum;
}

void node_count_refused(const struct node *n, enum refusal why)
{
	metrics_add(&n->metrics, METRIC_CONNECTIONS_REFUSED, why, 0, 1);
}

void node_count_closed(const struct node *n, enum client_transport transport, unsigned code, bool whole)
{
	const char *codes = table[METRIC_CONNECTIONS_CLOSED].words[1];
	char text[16];
	int at = 0;

	if (code == 0 && transport == CLIENT_WEBSOCKET)
		code = 1006;
	if (code == 0 && whole)
		code = 1000;
	snprintf(text, sizeof(text), "%u", code);
	at = words_index(codes, code == 0 ? "eof" : text);
	if (at < 0)
		at = words_index(codes, "other");
	metrics_add(&n->metrics, METRIC_CONNECTIONS_CLOSED, transport, (unsigned)at, 1);
}

static void set(const struct node *n, unsigned metric, int64_t value)
{
	metrics_set(&n->metrics, metric, 0, 0, value);
}

static void look_at_database(const struct node *n)
{
	const struct node_database *db = &n->db;

	metrics_set(&n->metrics, METRIC_DATABASE_UP, DATABASE_CALLS, 0,
		    pipeline_is_up(db->fetches) && pipeline_is_up(db->queries) && pipeline_is_up(db->acts));
	metrics_set(&n->metrics, METRIC_DATABASE_UP, DATABASE_LISTEN, 0, doorbell_is_settled(db->listener));
}

static void look_at_process(const struct node *n)
{
	struct process_usage usage;

	process_usage_read(&usage);
	set(n, METRIC_PROCESS_CPU, usage.cpu_us);
	set(n, METRIC_PROCESS_RESIDENT, usage.resident_bytes);
	set(n, METRIC_PROCESS_OPEN_FDS, usage.descriptors);
	set(n, METRIC_PROCESS_MAX_FDS, usage.descriptors_max);
}

static void look_at_keys(const struct node *n)
{
	for (int i = 0; i < words_count(KEY_ALGORITHMS); i++)
		metrics_set(&n->metrics, METRIC_KEYS, (unsigned)i, 0,
			    (int64_t)token_keys_count(n->identity.keys, words_at(KEY_ALGORITHMS, i)));
}

/* What is known anyway. */
static void look(const struct node *n)
{
	const struct config *c = n->config;

	set(n, METRIC_BUILD_INFO, 1);
	set(n, METRIC_CONNECTIONS_LIMIT, c->connections_max);
	set(n, METRIC_TOPICS, (int64_t)hub_topics(n->fanout.hub));
	set(n, METRIC_CATCH_UP_BYTES, (int64_t)n->budget.bytes);
	set(n, METRIC_CATCH_UP_BYTES_LIMIT, c->catch_up_max_bytes);
	set(n, METRIC_TAILS_BYTES, (int64_t)hub_tails_bytes(n->fanout.hub));
	set(n, METRIC_TAILS_BYTES_LIMIT, c->tails_max_bytes);
	set(n, METRIC_AUDIT_LINES_LOST, (int64_t)audit_sink_lost());
	set(n, METRIC_DRAINING, n->phase >= NODE_DRAINING);
	look_at_database(n);
	look_at_process(n);
	look_at_keys(n);
}

void node_metrics_write(const struct node *n, const char *lws_version, enum metrics_format format, struct buf *out)
{
	struct buf build = BUF_EMPTY;

	look(n);
	buf_printf(&build, "version=\"%s\",lws=\"%s\",libpq=\"%d\"", PACKAGE_VERSION, lws_version,
		   conninfo_library_version());
	for (unsigned i = 0; i < NODE_METRICS_COUNT; i++) {
		metric_write_head(out, &table[i], format);
		metrics_write_series(out, &n->metrics, i, i == METRIC_BUILD_INFO && buf_ok(&build) ? build.bytes : "",
				     NULL);
	}
	metrics_write_end(out, format);
	buf_free(&build);
}
