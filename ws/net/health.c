#include "ws/net/health.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/sidecar/sql_upkeep.h"
#include "ws/deliver/presence.h"

#define KNOWN_MS 15000 /* as long as a node that has not been heard of counts as alive */

struct node_health {
	struct node *node;
	bool asking;
	int64_t said_ms; /* when the database last answered; 0: never */
	bool schema_fits, relay_moves;
};

enum { DATABASE, SIDECAR, SCHEMA, LISTENER, RELAY, CHECKS_COUNT };

enum err health_new(struct node_health **h, struct node *n)
{
	*h = calloc(1, sizeof(**h));
	if (!*h)
		return ERR_MEMORY;
	(*h)->node = n;
	return OK;
}

void health_free(struct node_health **h)
{
	free(*h);
	*h = NULL;
}

static void on_state(void *context, enum err e, bool schema_fits, bool relay_moves)
{
	struct node_health *h = context;

	h->asking = false;
	if (e != OK)
		return;
	h->said_ms = clock_monotonic_ms();
	h->schema_fits = schema_fits;
	h->relay_moves = relay_moves;
}

void health_ask(struct node_health *h)
{
	if (!h->asking && pipeline_is_up(h->node->db.queries))
		h->asking = sql_state(h->node->db.queries, on_state, h) == OK;
}

static bool is_database_well(const struct node_health *h)
{
	const struct node *n = h->node;

	return pipeline_is_up(n->db.fetches) && pipeline_is_up(n->db.queries) && pipeline_is_up(n->db.acts) &&
	       !presence_is_refused(n->fanout.presence) && h->said_ms != 0 &&
	       clock_monotonic_ms() - h->said_ms < KNOWN_MS;
}

static const char *const names[CHECKS_COUNT] = {[DATABASE] = "database",
						[SIDECAR] = "sidecar",
						[SCHEMA] = "schema",
						[LISTENER] = "listener",
						[RELAY] = "relay"};

static void judge(const struct node_health *h, const char *conditions[CHECKS_COUNT])
{
	const struct node *n = h->node;
	bool database = is_database_well(h);

	conditions[DATABASE] = database ? "healthy" : "unhealthy";
	conditions[SIDECAR] = n->phase >= NODE_DRAINING ? "unhealthy" : "healthy";
	conditions[LISTENER] = doorbell_is_settled(n->db.listener) ? "healthy" : "unhealthy";
	conditions[SCHEMA] = !database ? "unknown" : h->schema_fits ? "healthy" : "unhealthy";
	conditions[RELAY] = !database ? "unknown" : h->relay_moves ? "healthy" : "unhealthy";
}

const char *health_fault(const struct node_health *h)
{
	const char *conditions[CHECKS_COUNT];

	judge(h, conditions);
	for (int i = 0; i < CHECKS_COUNT; i++)
		if (strcmp(conditions[i], "healthy") != 0)
			return names[i];
	return NULL;
}

static void write_checks(struct buf *out, const struct node_health *h)
{
	const char *conditions[CHECKS_COUNT];

	judge(h, conditions);
	buf_add_text(out, ",\"checks\":{");
	for (int i = 0; i < CHECKS_COUNT; i++)
		buf_printf(out, "%s\"%s\":\"%s\"", i > 0 ? "," : "", names[i], conditions[i]);
	buf_add_text(out, "}");
}

static void answer(struct requester *r, bool live)
{
	struct buf checks = BUF_EMPTY, body = BUF_EMPTY;
	char now[CLOCK_TEXT_SIZE];
	bool well = live || !health_fault(r->node->upkeep.health);

	if (!live)
		write_checks(&checks, r->node->upkeep.health);
	buf_printf(&body, "{\"status\":\"%s\",\"timestamp\":\"%s\"", well ? "healthy" : "unhealthy",
		   clock_text(now, clock_wall_us()));
	buf_add(&body, checks.bytes, checks.len);
	buf_add_text(&body, "}");
	if (!buf_ok(&checks))
		body.failed = true;
	buf_free(&checks);
	requester_answer(r, well ? 200 : 503, "application/json", &body, well ? "" : "Retry-After: 5\r\n");
}

static bool is(struct span text, const char *wanted)
{
	return text.len == strlen(wanted) && memcmp(text.bytes, wanted, text.len) == 0;
}

bool health_serve(struct requester *r, const struct request_head *head)
{
	bool live = is(head->path, "/health/live");

	if (!live && !is(head->path, "/health/ready") && !is(head->path, "/health"))
		return false;
	if (requester_takes_get(r, head))
		answer(r, live);
	return true;
}
