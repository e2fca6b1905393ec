#include "ws/live/live_actions.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "domain/dialog/live_text.h"
#include "store/sidecar/sql_live.h"
#include "store/wire/act.h"
#include "ws/dialog/reply.h"
#include "ws/identity/identity.h"
#include "ws/identity/session_audit.h"
#include "ws/identity/user_sessions.h"
#include "ws/live/live_session.h"
#include "ws/session/session_output.h"

#define ACTS_MAX 256 /* messages of one user that the database has not answered, also of clients that have gone */

STAILQ_HEAD(acting_list, acting);

/*
 * What one user has said and the database has not answered: one act is under way, the others wait for it. So of a user who
 * has said much, a message that costs much as well, others wait for one act and not for all.
 */
struct act_queue {
	UT_hash_handle hh; /* in node.act_queues, by user_id */
	struct node *node;
	struct acting_list waiting;
	unsigned count; /* with the one under way */
	bool under_way;
	char user_id[]; /* NUL-terminated */
};

struct acting {
	STAILQ_ENTRY(acting) link; /* in queue->waiting, until it is under way */
	struct act_queue *queue;
	size_t bytes;		   /* that it takes, in node.budget */
	struct subscription *self; /* with a reference */
	struct buf data;	   /* owned */
	char *correlation;	   /* owned; NULL: none */
	char connection_id[UUID_TEXT_SIZE];
	const char *role; /* static */
	bool require_user;
	enum client_type type;
};

static void answer_act(struct session *s, const struct acting *a, enum err e, const struct act_row *row)
{
	/* An ordinary user is told the same of what is not there and of what is somebody else's. */
	bool not_found = row && row->outcome == ERR_NOT_FOUND && s->role >= ROLE_SERVICE;
	struct buf text = BUF_EMPTY;

	session_audit_act(s, client_type_text(a->type), act_outcome_text(e != OK ? e : row->outcome));
	if (e == OK && row->outcome == OK) {
		buf_add_text(&text, row->reply);
		reply_say(s, &text);
	} else if (e != OK) {
		reply_error(s, "unavailable", "The database is away: what was sent may not have been stored.",
			    a->correlation);
	} else if (row->outcome == ERR_LIMIT) {
		live_text_over_quota(&text, a->correlation, clock_wall_us());
		reply_say(s, &text);
	} else if (row->outcome == ERR_FIELD && row->detail) {
		reply_refuse_member(s, row->detail, a->correlation);
	} else if (row->outcome == ERR_SETTLED) {
		reply_refuse(s, "conflict", row->detail ? row->detail : "This is settled already.", a->correlation);
	} else if (row->outcome == ERR_INPUT) {
		reply_refuse(s, "invalid_message", row->detail ? row->detail : "This cannot be done.", a->correlation);
	} else {
		reply_refuse(s, not_found ? "not_found" : "forbidden",
			     not_found ? client_type_missing(a->type) : "This is not allowed.", a->correlation);
	}
}

static void acting_free(struct acting *a)
{
	buf_free(&a->data);
	free(a->correlation);
	free(a);
}

static void finish(struct acting *a, enum err e, const struct act_row *row)
{
	struct node *n = a->queue->node;
	struct session *s = a->self->session;

	budget_release(&n->budget, a->bytes);
	a->queue->count--;
	if (s && e == OK)
		dialog_charge(&s->dialog, &n->dialog_limits, act_cost(row->size), clock_monotonic_ms() * 1000);
	else if (e == OK)
		identity_charge_more(n, a->queue->user_id, act_cost(row->size));
	if (s && s->state == SESSION_OPEN)
		answer_act(s, a, e, row);
	subscription_unref(a->self);
	acting_free(a);
}

static void on_act(void *context, enum err e, const struct act_row *row);

static enum err give(struct acting *a)
{
	const struct config *c = a->queue->node->config;

	return sql_act(a->queue->node->db.acts,
		       &(struct act){
			       .user_id = a->queue->user_id,
			       .role = a->role,
			       .connection_id = a->connection_id,
			       .type = client_type_text(a->type),
			       .data = a->data.bytes,
			       .correlation = a->correlation,
			       .queue_max = c->queue_max,
			       .queue_min_age_s = c->queue_min_age_s,
			       .require_user = a->require_user,
			       .daily_max_kib = c->user_daily_max_kib,
			       .predictions = c->predictions,
		       },
		       on_act, a);
}

/* The next one, unless one is under way; a queue in which nothing is left is no more. */
static void send_next(struct act_queue *q)
{
	struct acting *a;

	while (!q->under_way && (a = STAILQ_FIRST(&q->waiting))) {
		enum err e;

		STAILQ_REMOVE_HEAD(&q->waiting, link);
		q->under_way = true;
		e = give(a);
		if (e == OK)
			return;
		finish(a, e, NULL);
		q->under_way = false;
	}
	if (!q->under_way) {
		HASH_DEL(q->node->act_queues, q);
		free(q);
	}
}

static void on_act(void *context, enum err e, const struct act_row *row)
{
	struct acting *a = context;
	struct act_queue *q = a->queue;

	finish(a, e, row);
	q->under_way = false;
	send_next(q);
}

/* The user's, made if new; NULL: no memory. */
static struct act_queue *queue_of(struct node *n, const char *user_id)
{
	size_t len = strlen(user_id);
	struct act_queue *q = NULL;

	HASH_FIND(hh, n->act_queues, user_id, len, q);
	if (q)
		return q;
	q = calloc(1, sizeof(*q) + len + 1);
	if (!q)
		return NULL;
	q->node = n;
	STAILQ_INIT(&q->waiting);
	memcpy(q->user_id, user_id, len + 1);
	HASH_ADD_KEYPTR(hh, n->act_queues, q->user_id, len, q);
	if (HASH_HAS(hh, q))
		return q;
	free(q);
	return NULL;
}

/* Of what the message takes while it waits. */
static size_t bytes_of(const struct client_message *m)
{
	return sizeof(struct acting) + m->data.len + m->correlation_id.len;
}

/* NULL: no memory. */
static struct acting *acting_new(struct session *s, struct act_queue *q, const struct client_message *m)
{
	struct acting *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->queue = q;
	a->self = live_session_of(s)->self;
	a->role = role_text(s->role);
	a->require_user = identity_needs_account(s);
	a->type = m->type;
	uuid_text(a->connection_id, &s->id);
	buf_add(&a->data, m->data.bytes, m->data.len);
	a->bytes = bytes_of(m);
	if (m->correlation_id.bytes)
		a->correlation = strdup(m->correlation_id.bytes);
	if (buf_ok(&a->data) && (a->correlation || !m->correlation_id.bytes))
		return a;
	acting_free(a);
	return NULL;
}

void live_act(struct session *s, const struct client_message *m)
{
	struct act_queue *q = queue_of(s->node, s->user->id);
	struct acting *a = NULL;

	if (q && q->count >= ACTS_MAX) {
		reply_refuse(s, "rate_limited", "Too many messages wait for the database: slow down.",
			     m->correlation_id.bytes);
	} else if (!session_make_room(s->node, bytes_of(m))) {
		reply_error(s, "unavailable", "Too much waits for the database: try again later.",
			    m->correlation_id.bytes);
	} else if (!q || !(a = acting_new(s, q, m))) {
		reply_error(s, "unavailable", "The server is short of memory.", m->correlation_id.bytes);
	} else {
		budget_reserve(&s->node->budget, a->bytes);
		subscription_ref(a->self);
		q->count++;
		STAILQ_INSERT_TAIL(&q->waiting, a, link);
	}
	if (q)
		send_next(q);
}
