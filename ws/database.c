#include "ws/database.h"

#include "base/log/log.h"
#include "store/sidecar/sql_node.h"
#include "store/wire/hosts.h"
#include "ws/deliver/fetcher.h"
#include "ws/deliver/presence.h"
#include "ws/metrics/node_metrics.h"
#include "ws/net/acceptor.h"
#include "ws/net/health.h"
#include "ws/roster/roster_watch.h"
#include "ws/upkeep/accounts.h"
#include "ws/upkeep/heartbeat.h"
#include "ws/upkeep/orders.h"
#include "ws/upkeep/relay.h"

static void count_connect(const struct node *n, enum database_use use)
{
	metrics_add(&n->metrics, METRIC_DATABASE_CONNECTS, use, 0, 1);
}

/* ---- queries */

static void on_queries_up(void *context)
{
	struct node *n = context;

	count_connect(n, DATABASE_CALLS);
	/*
	 * A new connection may be to a server that has been restored, or has lost what was not logged: nothing is taken for
	 * granted.
	 */
	presence_doubt(n->fanout.presence);
	for (struct hub_topic *t = hub_first(n->fanout.hub); t; t = hub_next(t))
		t->revoked_seq = MIN(t->revoked_seq, tail_seq(t->tail));
	heartbeat_send(n->upkeep.heartbeat);
	health_ask(n->upkeep.health);
	accounts_ask(n->upkeep.accounts);
	relay_run(n->upkeep.relay);
	acceptor_open_if_complete(n->acceptor);
}

static void on_queries_down(void *context)
{
	presence_lost(((struct node *)context)->fanout.presence);
}

static const struct pipeline_ops queries_ops = {.watch = pg_watch_set, .up = on_queries_up, .down = on_queries_down};

/* ---- fetches, acts: whoever waits for an answer gets one, so that there is nothing to do when they go */

static void on_down(void *context)
{
	(void)context;
}

static void on_fetches_up(void *context)
{
	struct node *n = context;

	count_connect(n, DATABASE_CALLS);
	heartbeat_compare_fetches(n->upkeep.heartbeat);
	acceptor_open_if_complete(n->acceptor);
}

static void on_acts_up(void *context)
{
	struct node *n = context;

	count_connect(n, DATABASE_CALLS);
	relay_run(n->upkeep.relay);
	acceptor_open_if_complete(n->acceptor);
}

static const struct pipeline_ops fetches_ops = {.watch = pg_watch_set, .up = on_fetches_up, .down = on_down};
static const struct pipeline_ops acts_ops = {.watch = pg_watch_set, .up = on_acts_up, .down = on_down};

/* ---- the listener */

static void on_listening(void *context)
{
	struct node *n = context;

	count_connect(n, DATABASE_LISTEN);
	heartbeat_send_anew(n->upkeep.heartbeat);
	accounts_ask(n->upkeep.accounts);
	roster_watch_ring_all(n->fanout.roster_watch);
	relay_run(n->upkeep.relay);
	acceptor_open_if_complete(n->acceptor);
}

static void on_outbox(void *context)
{
	node_count(context, METRIC_NOTIFICATIONS);
	relay_run(((struct node *)context)->upkeep.relay);
}

static void on_notified(void *context, enum err e)
{
	if (e == OK)
		doorbell_notified(((struct node *)context)->db.listener);
}

static void notify(void *context, const char *channel)
{
	if (sql_notify(((struct node *)context)->db.queries, channel, on_notified, context) != OK)
		log_debug("no notification can be sent yet");
}

static const struct doorbell_ops doorbell_ops = {
	.watch = pg_watch_set,
	.up = on_listening,
	.rung = fetcher_rung,
	.ephemeral = fetcher_ephemeral,
	.outbox = on_outbox,
	.control = orders_carry_out,
	.notify = notify,
};

/* ---- opening and closing */

enum err database_open(struct node *n)
{
	const struct config *c = n->config;
	struct node_database *db = &n->db;
	struct hosts *hosts = NULL, *listen_hosts = NULL;
	enum err e = hosts_new(&hosts, c->database);

	if (e == OK && c->listen_database)
		e = hosts_new(&listen_hosts, c->listen_database);
	pg_watch_init(&db->fetches_watch, n->loop);
	pg_watch_init(&db->queries_watch, n->loop);
	pg_watch_init(&db->acts_watch, n->loop);
	pg_watch_init(&db->listener_watch, n->loop);
	if (e == OK)
		e = pipeline_open(&db->fetches, "fetches", "tidings-ws fetches", hosts, c->database_timeout_ms,
				  &fetches_ops, &db->fetches_watch, n);
	if (e == OK)
		e = pipeline_open(&db->queries, "queries", "tidings-ws queries", hosts, c->database_timeout_ms,
				  &queries_ops, &db->queries_watch, n);
	if (e == OK)
		e = pipeline_open(&db->acts, "acts", "tidings-ws acts", hosts, c->database_timeout_ms, &acts_ops,
				  &db->acts_watch, n);
	if (e == OK)
		e = doorbell_open(&db->listener, listen_hosts ? listen_hosts : hosts, c->listen_database != NULL,
				  c->database_timeout_ms, &doorbell_ops, &db->listener_watch, n);
	hosts_free(&hosts);
	hosts_free(&listen_hosts);
	if (e != OK) {
		log_error("TIDINGS_DATABASE or TIDINGS_LISTEN_DATABASE is not what libpq understands");
		return e;
	}
	db->fetches_watch.connection = pipeline_connection(db->fetches);
	db->queries_watch.connection = pipeline_connection(db->queries);
	db->acts_watch.connection = pipeline_connection(db->acts);
	pg_connection_may_wait(db->acts_watch.connection);
	db->listener_watch.connection = doorbell_connection(db->listener);
	return OK;
}

void database_close(struct node *n)
{
	struct node_database *db = &n->db;

	pipeline_close(&db->acts);
	pipeline_close(&db->fetches);
	pipeline_close(&db->queries);
	doorbell_close(&db->listener);
	pg_watch_close(&db->acts_watch);
	pg_watch_close(&db->fetches_watch);
	pg_watch_close(&db->queries_watch);
	pg_watch_close(&db->listener_watch);
}
