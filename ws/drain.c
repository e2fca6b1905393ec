#include "ws/drain.h"

#include "base/log/log.h"
#include "base/process/supervisor.h"
#include "store/sidecar/sql_node.h"
#include "ws/deliver/presence.h"
#include "ws/net/acceptor.h"
#include "ws/session/session.h"
#include "ws/upkeep/heartbeat.h"

#define TICK_MS 50
#define LAST_MS 3000 /* for the last closes, and for the database */

static void on_farewell(void *context, enum err e)
{
	struct drain *d = context;

	(void)e;
	d->state = DRAIN_DONE;
}

/* As many have been told as time has passed: they come back elsewhere one after the other. */
static void close_some(struct drain *d, int64_t spent_ms, int64_t time_ms)
{
	size_t should_be_left = spent_ms >= time_ms ? 0 : d->total - d->total * (size_t)spent_ms / (size_t)time_ms;
	size_t open = 0;
	struct session *s;

	TAILQ_FOREACH (s, &d->node->sessions.all, link)
		open += s->state != SESSION_CLOSING;
	TAILQ_FOREACH (s, &d->node->sessions.all, link) {
		if (open <= should_be_left)
			break;
		if (s->state == SESSION_CLOSING)
			continue;
		session_close(s, CLOSE_RESTART, "this server is going away: reconnect");
		open--;
	}
}

static void say_farewell(struct drain *d, int64_t now_ms)
{
	struct node *n = d->node;

	presence_flush(n->fanout.presence);
	d->state = DRAIN_FAREWELL;
	d->farewell_ms = now_ms;
	n->phase = NODE_GONE;
	if (sql_farewell(n->db.queries, n->id_text, on_farewell, d) != OK)
		d->state = DRAIN_DONE;
}

static void rest(struct drain *d)
{
	d->state = DRAIN_EMPTY;
	uv_timer_stop(&d->timer);
	log_notice("drained: it waits for its end");
}

static void on_tick(uv_timer_t *timer)
{
	struct drain *d = timer->data;
	struct node *n = d->node;
	int64_t now_ms = clock_monotonic_ms(), spent_ms = now_ms - d->begun_ms, time_ms = n->config->drain_s * 1000;

	if (d->state == DRAIN_SESSIONS) {
		close_some(d, spent_ms, time_ms);
		if (n->sessions.count > 0 && spent_ms < time_ms + LAST_MS)
			return;
		if (d->stays)
			rest(d);
		else
			say_farewell(d, now_ms);
	}
	if (d->state == DRAIN_DONE || (d->state == DRAIN_FAREWELL && now_ms - d->farewell_ms >= LAST_MS))
		uv_stop(n->loop);
}

static void begin(struct drain *d)
{
	struct node *n = d->node;

	log_notice("going away connections=%zu over_s=%d stays=%d", n->sessions.count, (int)n->config->drain_s,
		   (int)d->stays);
	d->state = DRAIN_SESSIONS;
	n->phase = NODE_DRAINING;
	d->begun_ms = clock_monotonic_ms();
	d->total = n->sessions.count;
	acceptor_shut(n->acceptor);
	uv_timer_start(&d->timer, on_tick, 0, TICK_MS);
}

static void on_asked(uv_async_t *asked)
{
	struct drain *d = asked->data;

	if (d->state != DRAIN_NONE)
		return;
	d->stays = true;
	begin(d);
	heartbeat_send_anew(d->node->upkeep.heartbeat);
}

void drain_init(struct drain *d, struct node *n)
{
	*d = (struct drain){.node = n};
	uv_timer_init(n->loop, &d->timer);
	uv_async_init(n->loop, &n->upkeep.drain_asked, on_asked);
	d->timer.data = n->upkeep.drain_asked.data = d;
}

void drain_begin(struct drain *d)
{
	if (d->state != DRAIN_NONE && !d->stays)
		return;
	supervisor_tell(SUPERVISOR_STOPPING);
	if (d->state == DRAIN_NONE)
		begin(d);
	else
		uv_timer_start(&d->timer, on_tick, 0, TICK_MS);
	if (d->state == DRAIN_EMPTY)
		d->state = DRAIN_SESSIONS;
	d->stays = false;
}
