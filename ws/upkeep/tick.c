#include "ws/upkeep/tick.h"

#include <stdlib.h>

#include "base/log/log.h"
#include "store/sidecar/sql_upkeep.h"
#include "ws/metrics/node_metrics.h"
#include "ws/net/acceptor.h"
#include "ws/net/health.h"
#include "ws/node.h"
#include "ws/session/session.h"
#include "ws/subscribe/parked_polls.h"
#include "ws/upkeep/accounts.h"
#include "ws/upkeep/analyst.h"
#include "ws/upkeep/heartbeat.h"
#include "ws/upkeep/relay.h"
#include "ws/upkeep/sweep.h"

#define CYCLE_MS \
	4000 /* from a relay to the next, and so from a heartbeat to the next: a lost notification costs no more */
#define DUE_SLICE 512 /* sessions, before the loop looks at the sockets again: a few ms */

struct tick {
	struct node *node;
	uv_timer_t timer;
	uv_idle_t due_runner; /* active while sessions are due that a slice had no time for */
	int64_t cycle_ms;     /* when the last cycle began */
	int64_t next_ms;      /* when the timer should come; 0: it has not come yet */
};

static struct session *session_of(struct wheel_entry *e)
{
	return (struct session *)((char *)e - offsetof(struct session, times.wheel));
}

static void on_due(uv_idle_t *runner)
{
	struct tick *t = runner->data;
	int64_t now_ms = clock_monotonic_ms();
	struct wheel_entry *e = NULL;

	for (int i = 0; i < DUE_SLICE && (e = wheel_expire(&t->node->sessions.wheel, now_ms)); i++)
		session_due(session_of(e), now_ms);
	if (e)
		uv_idle_start(runner, on_due);
	else
		uv_idle_stop(runner);
}

static void on_tick(uv_timer_t *timer)
{
	struct tick *t = timer->data;
	struct node *n = t->node;
	int64_t now_ms = clock_monotonic_ms();

	if (t->next_ms != 0)
		metrics_observe(&n->metrics, METRIC_LOOP_DELAY, 0, 0, (now_ms - t->next_ms) * 1000, 1);
	/* libuv counts from when its turn began, which the clock has been asked since. */
	t->next_ms = (int64_t)uv_now(n->loop) + WHEEL_STEP_MS;
	on_due(&t->due_runner);
	acceptor_check(n->acceptor, now_ms);
	parked_polls_expire(n->parked_polls, now_ms);
	heartbeat_check_epochs(n->upkeep.heartbeat);
	if (!pipeline_is_up(n->db.queries))
		return;
	if (now_ms - t->cycle_ms >= CYCLE_MS) {
		t->cycle_ms = now_ms;
		relay_run(n->upkeep.relay);
		analyst_run(n->upkeep.analyst);
	}
	if (heartbeat_is_due(n->upkeep.heartbeat, t->cycle_ms, now_ms)) {
		heartbeat_send(n->upkeep.heartbeat);
		health_ask(n->upkeep.health);
		accounts_check(n->upkeep.accounts);
		if (pipeline_is_up(n->db.acts) && sql_tell_operations(n->db.acts, n->id_text) != OK)
			log_info("the operator's page could not be told how things are");
	}
	sweep_check(n->upkeep.sweep, now_ms);
}

enum err tick_new(struct tick **t, struct node *n)
{
	*t = calloc(1, sizeof(**t));
	if (!*t)
		return ERR_MEMORY;
	(*t)->node = n;
	uv_timer_init(n->loop, &(*t)->timer);
	uv_idle_init(n->loop, &(*t)->due_runner);
	(*t)->timer.data = (*t)->due_runner.data = *t;
	uv_timer_start(&(*t)->timer, on_tick, WHEEL_STEP_MS, WHEEL_STEP_MS);
	return OK;
}

void tick_free(struct tick **t)
{
	free(*t);
	*t = NULL;
}
