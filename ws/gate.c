#include "ws/gate.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ws/ledger.h"
#include "ws/user.h"

#define BATCH_MAX 256
#define UNDER_WAY_MAX 2 /* batches: one is on its way while the other gathers */

struct gate {
	struct node *node;
	void (*attached)(struct session *s, const struct attach_row *row);
	struct session_queue waiting; /* each with a reference */
	unsigned under_way;
};

struct batch {
	struct gate *gate;
	size_t count;
	struct session *sessions[BATCH_MAX]; /* each with a reference */
	struct attach_item items[BATCH_MAX];
	char topics[BATCH_MAX][TOPIC_NAME_MAX + 1];
};

static void ask_next(struct gate *g);

enum err gate_new(struct gate **g, struct node *n, void (*attached)(struct session *s, const struct attach_row *row))
{
	*g = calloc(1, sizeof(**g));
	if (!*g)
		return ERR_MEMORY;
	(*g)->node = n;
	(*g)->attached = attached;
	STAILQ_INIT(&(*g)->waiting);
	return OK;
}

void gate_free(struct gate **g)
{
	if (!*g)
		return;
	session_queue_clear(&(*g)->waiting);
	free(*g);
	*g = NULL;
}

static void refuse(struct session *s, enum err why)
{
	char quoted[64];

	log_info("refused user=%s diagnosis=%lld why=\"%s\"",
		 s->user ? log_quote(quoted, sizeof(quoted), s->user->id, strlen(s->user->id)) : "",
		 (long long)s->dialog.diagnosis_id, err_text(why));
	/* The same words for what is not there and what is somebody else's; those who may publish everywhere may know.
	 */
	if (why == ERR_NOT_FOUND && s->role >= ROLE_SERVICE)
		session_refuse(s, 404, CLOSE_POLICY, "not allowed");
	else
		session_refuse(s, 403, CLOSE_POLICY, "not allowed");
}

static void finish_batch(struct batch *b, enum err e, const struct attach_row *rows)
{
	struct gate *g = b->gate;

	for (size_t i = 0; i < b->count; i++) {
		struct session *s = b->sessions[i];

		if (s->socket && s->state == SESSION_ATTACHING) {
			if (e != OK)
				session_close(s, CLOSE_TRY_LATER, "try again later");
			else if (rows[i].outcome != OK)
				refuse(s, rows[i].outcome);
			else
				g->attached(s, &rows[i]);
		}
		session_unref(s);
	}
	free(b);
	g->under_way--;
}

static void on_attach(void *context, enum err e, const struct attach_row *rows, size_t count)
{
	struct batch *b = context;
	struct gate *g = b->gate;

	(void)count;
	finish_batch(b, e, rows);
	ask_next(g);
}

static void take_waiting(struct gate *g, struct batch *b)
{
	struct session *s;

	while (b->count < BATCH_MAX && (s = STAILQ_FIRST(&g->waiting))) {
		STAILQ_REMOVE_HEAD(&g->waiting, queue);
		if (!s->socket || s->state != SESSION_ATTACHING) {
			session_unref(s);
			continue;
		}
		topic_of_diagnosis(b->topics[b->count], s->dialog.diagnosis_id);
		b->items[b->count] =
			(struct attach_item){s->user ? s->user->id : NULL, role_text(s->role), b->topics[b->count]};
		b->sessions[b->count++] = s;
	}
}

static void ask_next(struct gate *g)
{
	while (g->under_way < UNDER_WAY_MAX && !STAILQ_EMPTY(&g->waiting)) {
		struct batch *b = calloc(1, sizeof(*b));
		enum err e = ERR_AWAY;

		/* Whoever comes next, or the next answer, tries again. */
		if (!b)
			return;
		b->gate = g;
		g->under_way++;
		take_waiting(g, b);
		/* What this asks for is to include all that was delivered before. */
		ledger_flush(g->node->ledger);
		if (b->count > 0)
			e = calls_attach(g->node->pipeline, b->items, b->count, on_attach, b);
		if (e != OK)
			finish_batch(b, e, NULL);
	}
}

void gate_ask(struct gate *g, struct session *s)
{
	session_ref(s);
	STAILQ_INSERT_TAIL(&g->waiting, s, queue);
	ask_next(g);
}
