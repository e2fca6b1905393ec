/*
 * tidings-ws - the sidecar: pushes what is committed to every client that is connected.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/log/audit_sink.h"
#include "base/log/log.h"
#include "base/process/supervisor.h"
#include "domain/websocket/inflate.h"
#include "ws/database.h"
#include "ws/deliver/backfill.h"
#include "ws/deliver/fetcher.h"
#include "ws/deliver/presence.h"
#include "ws/drain.h"
#include "ws/encode/encode_cache.h"
#include "ws/metrics/node_metrics.h"
#include "ws/net/acceptor.h"
#include "ws/net/health.h"
#include "ws/net/websocket.h"
#include "ws/node.h"
#include "ws/reload.h"
#include "ws/roster/roster_watch.h"
#include "ws/session/session.h"
#include "ws/subscribe/authorizer.h"
#include "ws/subscribe/parked_polls.h"
#include "ws/subscribe/subscribe.h"
#include "ws/upkeep/accounts.h"
#include "ws/upkeep/heartbeat.h"
#include "ws/upkeep/keys.h"
#include "ws/upkeep/relay.h"
#include "ws/upkeep/sweep.h"
#include "ws/upkeep/tick.h"

static const char usage[] = "Usage: tidings-ws [--check-config | --help | --version]\n"
			    "\n"
			    "Pushes what is committed to PostgreSQL to every client that is connected. Its settings "
			    "are the environment: see\n"
			    "tidings.conf(5).\n"
			    "\n"
			    "SIGTERM, SIGINT  ask every client to reconnect, over TIDINGS_DRAIN_TIME, then stop\n"
			    "SIGHUP           read the keys, and what settings a reload may change, again\n"
			    "SIGUSR1          write the counters to the log\n";

#define ARRIVALS_MAX 10000 /* users whose rate of coming is known */

struct sidecar {
	struct node node;
	struct config config;
	uv_loop_t loop;
	uv_signal_t signals[4];
	uv_timer_t alive_timer;
	struct drain drain;
	struct reload reload;
};

/* ---- signals */

/* A loop that hangs says nothing. */
static void on_alive_timer(uv_timer_t *timer)
{
	const struct node *n = timer->data;
	const char *fault = health_fault(n->upkeep.health);
	char state[128];

	snprintf(state, sizeof(state), "%s\n%s%zu connections; %s%s", SUPERVISOR_ALIVE, SUPERVISOR_STATUS,
		 n->sessions.count, fault ? "not ready: " : "ready", fault ? fault : "");
	supervisor_tell(state);
}

static void log_counters(const struct node *n)
{
	log_notice("counters deliveries=%" PRIu64 " writes=%" PRIu64 " bytes=%" PRIu64 " fetches=%" PRIu64
		   " connections=%zu opened=%" PRIu64 " topics=%zu audit_lost=%" PRIu64,
		   node_counted(n, METRIC_DELIVERIES), node_counted(n, METRIC_DELIVERY_WRITES),
		   node_counted(n, METRIC_DELIVERED_BYTES), node_counted(n, METRIC_FETCHES), n->sessions.count,
		   n->sessions.opened, hub_topics(n->fanout.hub), audit_sink_lost());
}

static void on_signal(uv_signal_t *handle, int signal)
{
	struct sidecar *s = handle->data;

	switch (signal) {
	case SIGHUP:
		audit_sink_reopen();
		reload_begin(&s->reload);
		break;
	case SIGUSR1:
		log_counters(&s->node);
		break;
	default:
		drain_begin(&s->drain);
		break;
	}
}

/* ---- start and stop */

static enum err start(struct sidecar *s)
{
	static const int caught[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
	struct node *n = &s->node;
	const struct config *c = n->config;
	uint64_t alive_ms = (uint64_t)supervisor_interval_ms();
	uint8_t random[UUID_BYTES];
	struct uuid id;
	enum err e;

	signal(SIGPIPE, SIG_IGN);
	if (log_start_writer() != OK || audit_sink_start_writer(NULL) != OK)
		return ERR_SYSTEM;
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return ERR_SYSTEM;
	id = uuid_of_random(random);
	uuid_text(n->id_text, &id);
	clock_text(n->started_at, clock_wall_us());
	TAILQ_INIT(&n->sessions.all);
	TAILQ_INIT(&n->sessions.strangers);
	TAILQ_INIT(&n->unfinished.begun);
	client_sockets_init(&n->sockets, n->loop);
	budget_init(&n->budget, (size_t)c->catch_up_max_bytes);
	wheel_init(&n->sessions.wheel, clock_monotonic_ms());

	e = node_metrics_init(n);
	if (e == OK)
		e = reload_init(&s->reload, n, &s->config);
	if (e == OK)
		e = keys_read(n, &n->identity.keys);
	if (e == OK)
		e = rate_table_new(&n->identity.arrivals, ARRIVALS_MAX);
	if (e == OK && c->deflate)
		e = deflater_new(&n->fanout.deflater);
	if (e == OK && c->deflate)
		e = inflater_new(&n->fanout.inflater);
	if (e == OK)
		e = hub_new(&n->fanout.hub, &subscribe_hub_ops, n, (size_t)c->tail_max_bytes,
			    (size_t)c->tails_max_bytes, n->fanout.deflater);
	if (e == OK)
		e = websockets_new(&n->websockets, n->loop, (size_t)c->connections_max);
	if (e == OK)
		e = authorizer_new(&n->authorizer, n);
	if (e == OK)
		e = parked_polls_new(&n->parked_polls, n);
	if (e == OK)
		e = presence_new(&n->fanout.presence, n);
	if (e == OK)
		e = roster_watch_new(&n->fanout.roster_watch, n);
	if (e == OK)
		e = fetcher_new(&n->fanout.fetcher, n);
	if (e == OK)
		e = encode_cache_new(&n->fanout.event_cache);
	if (e == OK)
		e = encode_cache_new(&n->fanout.reply_cache);
	if (e == OK)
		e = backfill_new(&n->fanout.backfill, n);
	if (e == OK)
		e = acceptor_new(&n->acceptor, n);
	if (e == OK)
		e = heartbeat_new(&n->upkeep.heartbeat, n);
	if (e == OK)
		e = accounts_new(&n->upkeep.accounts, n);
	if (e == OK)
		e = relay_new(&n->upkeep.relay, n);
	if (e == OK)
		e = sweep_new(&n->upkeep.sweep, n);
	if (e == OK)
		e = tick_new(&n->upkeep.tick, n);
	if (e == OK)
		e = health_new(&n->upkeep.health, n);
	if (e == OK)
		e = database_open(n);
	if (e != OK)
		return e;
	drain_init(&s->drain, n);
	for (size_t i = 0; i < ARRAY_LEN(caught); i++) {
		uv_signal_init(&s->loop, &s->signals[i]);
		s->signals[i].data = s;
		uv_signal_start(&s->signals[i], on_signal, caught[i]);
	}
	uv_timer_init(&s->loop, &s->alive_timer);
	s->alive_timer.data = n;
	if (alive_ms > 0)
		uv_timer_start(&s->alive_timer, on_alive_timer, alive_ms, alive_ms);
	return OK;
}

/* Whoever is still waited for is answered first; then sessions, then what they need. */
static void stop(struct sidecar *s)
{
	struct node *n = &s->node;

	database_close(n);
	websockets_free(&n->websockets);
	/* Replies that are still held, by clients that did not take their end in time. */
	while (!TAILQ_EMPTY(&n->sessions.all))
		subscribe_end(TAILQ_FIRST(&n->sessions.all), false);
	acceptor_free(&n->acceptor);
	backfill_free(&n->fanout.backfill);
	authorizer_free(&n->authorizer);
	parked_polls_free(&n->parked_polls);
	presence_free(&n->fanout.presence);
	roster_watch_free(&n->fanout.roster_watch);
	fetcher_free(&n->fanout.fetcher);
	tick_free(&n->upkeep.tick);
	heartbeat_free(&n->upkeep.heartbeat);
	accounts_free(&n->upkeep.accounts);
	relay_free(&n->upkeep.relay);
	sweep_free(&n->upkeep.sweep);
	health_free(&n->upkeep.health);
	encode_cache_free(&n->fanout.event_cache);
	encode_cache_free(&n->fanout.reply_cache);
	hub_free(&n->fanout.hub);
	deflater_free(&n->fanout.deflater);
	inflater_free(&n->fanout.inflater);
	rate_table_free(&n->identity.arrivals);
	token_keys_free(&n->identity.keys);
	reload_end(&s->reload);
	node_metrics_free(n);
}

int main(int argc, char **argv)
{
	static struct sidecar sidecar;
	enum err e = OK;

	config_start(&sidecar.config, "tidings-ws", usage, argc, argv);
	if (uv_loop_init(&sidecar.loop) != 0)
		return EXIT_FAILURE;
	sidecar.node.config = &sidecar.config;
	sidecar.node.loop = &sidecar.loop;
	e = start(&sidecar);
	if (e != OK)
		return err_exit_status(e);
	uv_run(&sidecar.loop, UV_RUN_DEFAULT);
	stop(&sidecar);
	log_notice("stopped");
	return EXIT_SUCCESS;
}
