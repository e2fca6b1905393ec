#include "ws/upkeep/analyst.h"

#include <stdlib.h>

#include "base/clock.h"
#include "store/sidecar/sql_upkeep.h"
#include "ws/node.h"

#define ANALYST_PERIOD_MS 1000
#define ANALYST_TURN_MS 20 /* acts wait so long behind it */
#define TIMER_MAX_MS 60000 /* what is due later is looked at again meanwhile */

struct analyst {
	struct node *node;
	uv_timer_t timer; /* active: due */
	int64_t began_ms; /* the last turn */
	bool under_way;
	bool again; /* analyst_run() was called meanwhile */
};

enum err analyst_new(struct analyst **a, struct node *n)
{
	*a = calloc(1, sizeof(**a));
	if (!*a)
		return ERR_MEMORY;
	(*a)->node = n;
	uv_timer_init(n->loop, &(*a)->timer);
	(*a)->timer.data = *a;
	return OK;
}

void analyst_free(struct analyst **a)
{
	free(*a);
	*a = NULL;
}

static void begin(struct analyst *a);

static void on_timer(uv_timer_t *timer)
{
	begin(timer->data);
}

/* No sooner than a period after the last turn began. */
static void set_due(struct analyst *a, int64_t in_ms)
{
	int64_t rest_ms = a->began_ms + ANALYST_PERIOD_MS - clock_monotonic_ms();

	uv_timer_start(&a->timer, on_timer, (uint64_t)MAX(MIN(in_ms, TIMER_MAX_MS), MAX(rest_ms, 0)), 0);
}

static void on_turn(void *context, enum err e, int64_t next_ms)
{
	struct analyst *a = context;

	a->under_way = false;
	if (e != OK)
		return;
	if (next_ms == 0)
		begin(a);
	else if (a->again)
		set_due(a, 0);
	else if (next_ms > 0 && next_ms != INT64_MAX)
		set_due(a, next_ms);
}

static void begin(struct analyst *a)
{
	a->again = false;
	a->began_ms = clock_monotonic_ms();
	uv_timer_stop(&a->timer);
	a->under_way = sql_analyse(a->node->db.acts, ANALYST_TURN_MS, on_turn, a) == OK;
}

void analyst_run(struct analyst *a)
{
	a->again = a->under_way;
	if (!a->under_way)
		set_due(a, 0);
}
