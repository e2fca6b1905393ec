/*
 * tidings-ws - the sidecar: pushes what is committed to every client that is connected.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/supervisor.h"
#include "domain/inflate.h"
#include "ws/catch_up.h"
#include "ws/control.h"
#include "ws/door.h"
#include "ws/edition.h"
#include "ws/feed.h"
#include "ws/gate.h"
#include "ws/grace.h"
#include "ws/health.h"
#include "ws/keys.h"
#include "ws/ledger.h"
#include "ws/node.h"
#include "ws/pulse.h"
#include "ws/server.h"
#include "ws/session.h"
#include "ws/stages.h"

static const char usage[] = "Usage: tidings-ws [--check-config | --help | --version]\n"
			    "\n"
			    "Pushes what is committed to PostgreSQL to every client that is connected. Its settings "
			    "are the environment: see\n"
			    "tidings.conf(5).\n"
			    "\n"
			    "SIGTERM, SIGINT  ask every client to reconnect, over TIDINGS_DRAIN_TIME, then stop\n"
			    "SIGHUP           read the keys again\n"
			    "SIGUSR1          write the counters to the log\n";

#define DOOR_WAIT_MS 2000 /* for the database, before clients are let in to be told that it is away */
#define DRAIN_TICK_MS 50
#define ARRIVALS_MAX 10000 /* users whose rate of coming is known */
#define GOODBYE_MS 3000	   /* for the last closes, and for the database */

enum leaving { STAYING, DRAINING, SAYING_FAREWELL, STOPPED };

struct sidecar {
	struct node node;
	struct config config;
	uv_loop_t loop;
	uv_signal_t signals[4];
	uv_timer_t door_timer;
	uv_timer_t drain_timer;
	uv_timer_t alive_timer;
	enum leaving leaving;
	int64_t drain_from_ms;
	size_t drain_total; /* sessions when it began */
	int64_t farewell_ms;
};

/* ---- the hub's side: what it asks of sessions */

static struct subscription *subscription_of(struct subscriber *s)
{
	return (struct subscription *)((char *)s - offsetof(struct subscription, subscriber));
}

static enum hub_written hub_writes(struct subscriber *s, const struct delivery *d)
{
	return stages_deliver(subscription_of(s), d);
}

static void hub_will_write(struct subscriber *s)
{
	struct subscriber *after = TAILQ_NEXT(s, link);

	session_expect(subscription_of(s)->session);
	/* That could be found because this was done for it before. */
	if (after) {
		__builtin_prefetch(after);
		__builtin_prefetch(&subscription_of(after)->session);
	}
}

static void hub_is_behind(struct subscriber *subscriber)
{
	stages_behind(subscription_of(subscriber));
}

static struct node *the_node;

static void hub_has_delivered(struct hub_topic *t)
{
	ledger_delivered(the_node->ledger, t);
}

static void hub_has_delivered_private(struct hub_topic *t, uint64_t seq)
{
	ledger_sent(the_node->ledger, t, seq);
}

static const struct hub_ops hub_ops = {
	.write = hub_writes,
	.soon = hub_will_write,
	.behind = hub_is_behind,
	.delivered = hub_has_delivered,
	.delivered_private = hub_has_delivered_private,
};

/* ---- the database's side */

static void open_door(struct node *n)
{
	if (n->open || n->draining)
		return;
	n->open = true;
	door_open(n->door);
	supervisor_tell(SUPERVISOR_READY);
	log_notice("listening address=%s port=%d socket=%s node=%s", n->config->ws_address, (int)n->config->ws_port,
		   n->config->ws_socket ? n->config->ws_socket : "", n->id_text);
}

/* Clients are let in when all that they may ask for can be done, and when an order about them would be heard. */
static void open_door_if_complete(struct node *n)
{
	if (pipeline_is_up(n->fetches) && pipeline_is_up(n->pipeline) && pipeline_is_up(n->acts) &&
	    listener_is_settled(n->listener))
		open_door(n);
}

static void on_database_up(void *context)
{
	struct node *n = context;

	pulse_database_up(n->pulse);
	open_door_if_complete(n);
}

static void on_door_timer(uv_timer_t *timer)
{
	open_door(timer->data);
}

static void on_database_down(void *context)
{
	pulse_database_down(((struct node *)context)->pulse);
}

static void on_listening(void *context)
{
	struct node *n = context;

	pulse_listening(n->pulse);
	open_door_if_complete(n);
}

static void on_rung(void *context, int64_t topic_id)
{
	feed_ring(((struct node *)context)->feed, topic_id);
}

static void on_ephemeral(void *context, int64_t topic_id, const char *to_user, const struct uuid *exclude,
			 struct span body)
{
	feed_ephemeral(((struct node *)context)->feed, topic_id, to_user, exclude, body);
}

static void on_control(void *context, const char *order)
{
	control_order(context, order);
}

static void on_outbox(void *context)
{
	pulse_relay(((struct node *)context)->pulse);
}

static const struct pipeline_ops pipeline_ops = {
	.watch = watcher_watch, .up = on_database_up, .down = on_database_down};

static void on_fetches_up(void *context)
{
	struct node *n = context;

	pulse_fetches_up(n->pulse);
	open_door_if_complete(n);
}

/* What was asked for is asked for again, and whoever waits for a page is answered. */
static void on_fetches_down(void *context)
{
	(void)context;
}

static const struct pipeline_ops fetches_ops = {.watch = watcher_watch, .up = on_fetches_up, .down = on_fetches_down};

static void on_acts_up(void *context)
{
	struct node *n = context;

	pulse_relay(n->pulse);
	open_door_if_complete(n);
}

/* Each of those who wait is answered: that is all there is to do. */
static void on_acts_down(void *context)
{
	(void)context;
}

static const struct pipeline_ops acts_ops = {.watch = watcher_watch, .up = on_acts_up, .down = on_acts_down};

static const struct listener_ops listener_ops = {
	.watch = watcher_watch,
	.up = on_listening,
	.rung = on_rung,
	.ephemeral = on_ephemeral,
	.outbox = on_outbox,
	.control = on_control,
};

/* ---- leaving */

static void on_farewell(void *context, enum err e)
{
	struct sidecar *s = context;

	(void)e;
	s->leaving = STOPPED;
}

static void on_drain_tick(uv_timer_t *timer)
{
	struct sidecar *s = timer->data;
	struct node *n = &s->node;
	int64_t now_ms = clock_monotonic_ms(), spent_ms = now_ms - s->drain_from_ms, time_ms = s->config.drain_s * 1000;
	size_t should_be_left, open = 0;
	struct session *x;

	if (s->leaving == DRAINING) {
		/* As many have been told as time has passed: they come back elsewhere one after the other. */
		should_be_left =
			spent_ms >= time_ms ? 0 : s->drain_total - s->drain_total * (size_t)spent_ms / (size_t)time_ms;
		TAILQ_FOREACH (x, &n->sessions, link)
			open += x->state != SESSION_CLOSING;
		TAILQ_FOREACH (x, &n->sessions, link) {
			if (open <= should_be_left)
				break;
			if (x->state == SESSION_CLOSING)
				continue;
			session_close(x, CLOSE_RESTART, "this server is going away: reconnect");
			open--;
		}
		if (n->sessions_count > 0 && spent_ms < time_ms + GOODBYE_MS)
			return;
		ledger_flush(n->ledger);
		s->leaving = SAYING_FAREWELL;
		n->said_farewell = true;
		s->farewell_ms = now_ms;
		if (calls_farewell(n->pipeline, n->id_text, on_farewell, s) != OK)
			s->leaving = STOPPED;
	}
	if (s->leaving == STOPPED || (s->leaving == SAYING_FAREWELL && now_ms - s->farewell_ms >= GOODBYE_MS))
		uv_stop(&s->loop);
}

static void leave(struct sidecar *s)
{
	if (s->leaving != STAYING)
		return;
	log_notice("going away connections=%zu over_s=%d", s->node.sessions_count, (int)s->config.drain_s);
	s->leaving = DRAINING;
	s->node.draining = true;
	s->drain_from_ms = clock_monotonic_ms();
	s->drain_total = s->node.sessions_count;
	door_shut(s->node.door);
	supervisor_tell(SUPERVISOR_STOPPING);
	uv_timer_start(&s->drain_timer, on_drain_tick, 0, DRAIN_TICK_MS);
}

/* A loop that hangs says nothing. */
static void on_alive_timer(uv_timer_t *timer)
{
	const struct node *n = timer->data;
	const char *fault = health_fault(n->health);
	char state[128];

	snprintf(state, sizeof(state), "%s\n%s%zu connections; %s%s", SUPERVISOR_ALIVE, SUPERVISOR_STATUS,
		 n->sessions_count, fault ? "not ready: " : "ready", fault ? fault : "");
	supervisor_tell(state);
}

static void on_signal(uv_signal_t *handle, int signal)
{
	struct sidecar *s = handle->data;

	switch (signal) {
	case SIGHUP:
		keys_reload(&s->node);
		break;
	case SIGUSR1:
		pulse_log_counters(s->node.pulse);
		break;
	default:
		leave(s);
		break;
	}
}

/* ---- coming */

/*
 * As many descriptors as the connections need, and no more: libwebsockets has a table of so many. (Told a number
 * itself, it would search that table from its beginning for every event.)
 */
static enum err set_descriptors(const struct config *c)
{
	struct rlimit limit;
	rlim_t wanted = (rlim_t)c->connections_max + 2048;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return ERR_SYSTEM;
	if (limit.rlim_max < wanted) {
		log_error("TIDINGS_CONNECTIONS_MAX=%d needs %d descriptors, and the limit is %d (ulimit -n, "
			  "LimitNOFILE=)",
			  (int)c->connections_max, (int)wanted, (int)limit.rlim_max);
		return ERR_SYSTEM;
	}
	limit.rlim_cur = wanted;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? OK : ERR_SYSTEM;
}

static enum err open_database(struct node *n)
{
	const struct config *c = n->config;
	struct hosts *hosts = NULL, *listen_hosts = NULL;
	enum err e = hosts_new(&hosts, c->database);

	if (e == OK && c->listen_database)
		e = hosts_new(&listen_hosts, c->listen_database);
	watcher_init(&n->fetches_watcher, n->loop);
	watcher_init(&n->pipeline_watcher, n->loop);
	watcher_init(&n->acts_watcher, n->loop);
	watcher_init(&n->listener_watcher, n->loop);
	if (e == OK)
		e = pipeline_open(&n->fetches, "fetches", "tidings-ws fetches", hosts, c->database_timeout_ms,
				  &fetches_ops, &n->fetches_watcher, n);
	if (e == OK)
		e = pipeline_open(&n->pipeline, "queries", "tidings-ws queries", hosts, c->database_timeout_ms,
				  &pipeline_ops, &n->pipeline_watcher, n);
	if (e == OK)
		e = pipeline_open(&n->acts, "acts", "tidings-ws acts", hosts, c->database_timeout_ms, &acts_ops,
				  &n->acts_watcher, n);
	if (e == OK)
		e = listener_open(&n->listener, listen_hosts ? listen_hosts : hosts, c->listen_database != NULL,
				  c->database_timeout_ms, &listener_ops, &n->listener_watcher, n);
	hosts_free(&hosts);
	hosts_free(&listen_hosts);
	if (e != OK) {
		log_error("TIDINGS_DATABASE or TIDINGS_LISTEN_DATABASE is not what libpq understands");
		return e;
	}
	n->fetches_watcher.link = pipeline_link(n->fetches);
	n->pipeline_watcher.link = pipeline_link(n->pipeline);
	n->acts_watcher.link = pipeline_link(n->acts);
	link_may_wait(n->acts_watcher.link);
	n->listener_watcher.link = listener_link(n->listener);
	return OK;
}

static enum err start(struct sidecar *s)
{
	static const int caught[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
	struct node *n = &s->node;
	const struct config *c = n->config;
	uint64_t alive_ms = (uint64_t)supervisor_interval_ms();
	uint8_t random[UUID_BYTES];
	enum err e;

	signal(SIGPIPE, SIG_IGN);
	if (log_start_writer() != OK)
		return ERR_SYSTEM;
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return ERR_SYSTEM;
	n->id = uuid_of_random(random);
	uuid_text(n->id_text, &n->id);
	clock_text(n->started_at, clock_wall_us());
	n->dialog_limits = (struct dialog_limits){c->client_rate_per_s, c->client_burst, c->bad_messages_max};
	TAILQ_INIT(&n->sessions);
	TAILQ_INIT(&n->strangers);
	TAILQ_INIT(&n->unfinished);
	budget_init(&n->budget, (size_t)c->catch_up_max_bytes);
	wheel_init(&n->wheel, clock_monotonic_ms());

	e = set_descriptors(c);
	if (e == OK)
		e = keys_load(n);
	if (e == OK)
		e = rate_table_new(&n->arrivals, ARRIVALS_MAX);
	if (e == OK && c->deflate)
		e = deflater_new(&n->deflater);
	if (e == OK && c->deflate)
		e = inflater_new(&n->inflater);
	if (e == OK)
		e = hub_new(&n->hub, &hub_ops, (size_t)c->tail_max_bytes, (size_t)c->tails_max_bytes, n->deflater);
	if (e == OK)
		e = server_new(n);
	if (e == OK)
		e = gate_new(&n->gate, n, stages_attached, stages_refused);
	if (e == OK)
		e = grace_new(&n->grace, n);
	if (e == OK)
		e = ledger_new(&n->ledger, n, stages_counted);
	if (e == OK)
		e = feed_new(&n->feed, n);
	if (e == OK)
		e = edition_new(&n->events);
	if (e == OK)
		e = edition_new(&n->replies);
	if (e == OK)
		e = catch_up_new(&n->catch_up, n, stages_page, stages_caught_up);
	if (e == OK)
		e = door_new(&n->door, n);
	if (e == OK)
		e = pulse_new(&n->pulse, n);
	if (e == OK)
		e = health_new(&n->health, n);
	if (e == OK)
		e = open_database(n);
	if (e != OK)
		return e;
	uv_timer_init(&s->loop, &s->drain_timer);
	s->drain_timer.data = s;
	for (size_t i = 0; i < ARRAY_LEN(caught); i++) {
		uv_signal_init(&s->loop, &s->signals[i]);
		s->signals[i].data = s;
		uv_signal_start(&s->signals[i], on_signal, caught[i]);
	}
	uv_timer_init(&s->loop, &s->door_timer);
	s->door_timer.data = n;
	uv_timer_start(&s->door_timer, on_door_timer, DOOR_WAIT_MS, 0);
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

	pipeline_close(&n->acts);
	pipeline_close(&n->fetches);
	pipeline_close(&n->pipeline);
	listener_close(&n->listener);
	watcher_close(&n->acts_watcher);
	watcher_close(&n->fetches_watcher);
	watcher_close(&n->pipeline_watcher);
	watcher_close(&n->listener_watcher);
	server_free(n);
	/* Replies that are still held, by clients that did not take their end in time. */
	while (!TAILQ_EMPTY(&n->sessions))
		stages_end(TAILQ_FIRST(&n->sessions));
	door_free(&n->door);
	catch_up_free(&n->catch_up);
	gate_free(&n->gate);
	grace_free(&n->grace);
	ledger_free(&n->ledger);
	feed_free(&n->feed);
	pulse_free(&n->pulse);
	health_free(&n->health);
	edition_free(&n->events);
	edition_free(&n->replies);
	hub_free(&n->hub);
	deflater_free(&n->deflater);
	inflater_free(&n->inflater);
	rate_table_free(&n->arrivals);
	token_keys_free(&n->keys);
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
	the_node = &sidecar.node;
	e = start(&sidecar);
	if (e != OK)
		return err_exit_status(e);
	uv_run(&sidecar.loop, UV_RUN_DEFAULT);
	stop(&sidecar);
	log_notice("stopped");
	return EXIT_SUCCESS;
}
