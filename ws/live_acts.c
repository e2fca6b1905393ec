#include "ws/live_acts.h"

#include <stdlib.h>
#include <string.h>

#include "domain/live.h"
#include "store/acts.h"
#include "ws/audit.h"
#include "ws/identity.h"
#include "ws/live_say.h"
#include "ws/user.h"

#define ACTS_MAX 64 /* messages of one client that the database has not answered */

struct acting {
	struct node *node;
	size_t bytes;		   /* that wait */
	struct subscription *self; /* with a reference */
	char *correlation;	   /* owned; NULL: none */
	enum client_type type;
};

static void answer_act(struct session *s, const struct acting *a, enum err e, const struct act_row *row)
{
	/* An ordinary user is told the same of what is not there and of what is somebody else's. */
	bool not_found = row && row->outcome == ERR_NOT_FOUND && s->role >= ROLE_SERVICE;
	struct buf text = BUF_EMPTY;

	audit_act(s, client_type_text(a->type), act_outcome_text(e != OK ? e : row->outcome));
	if (e == OK && row->outcome == OK) {
		buf_add_text(&text, row->reply);
		live_say(s, &text);
	} else if (e != OK) {
		live_say_error(s, "unavailable", "The database is away: what was sent may not have been stored.",
			       a->correlation);
	} else if (row->outcome == ERR_INPUT) {
		live_refuse(s, "invalid_message", row->detail ? row->detail : "This cannot be done.", a->correlation);
	} else {
		live_refuse(s, not_found ? "not_found" : "forbidden",
			    not_found ? client_type_missing(a->type) : "This is not allowed.", a->correlation);
	}
}

static void on_act(void *context, enum err e, const struct act_row *row)
{
	struct acting *a = context;
	struct session *s = a->self->session;

	budget_release(&a->node->budget, a->bytes);
	if (s) {
		s->acts--;
		if (e == OK)
			dialog_charge(&s->dialog, &s->node->dialog_limits, act_cost(row->size),
				      clock_monotonic_ms() * 1000);
		if (s->state == SESSION_OPEN)
			answer_act(s, a, e, row);
	}
	subscription_unref(a->self);
	free(a->correlation);
	free(a);
}

void live_act(struct session *s, const struct client_message *m)
{
	const struct config *c = s->node->config;
	char connection_id[UUID_TEXT_SIZE];
	struct acting *a;
	size_t bytes = m->data.len + m->correlation_id.len;
	struct act sent = {
		.user_id = s->user->id,
		.role = role_text(s->role),
		.connection_id = uuid_text(connection_id, &s->id),
		.type = client_type_text(m->type),
		.data = m->data.bytes,
		.correlation = m->correlation_id.bytes,
		.queue_max = c->queue_max,
		.queue_min_age_s = c->queue_min_age_s,
		.require_user = identity_needs_account(s),
	};
	enum err e;

	if (s->acts >= ACTS_MAX) {
		live_refuse(s, "rate_limited", "Too many messages wait for the database: slow down.",
			    m->correlation_id.bytes);
		return;
	}
	if (!session_make_room(s->node, bytes)) {
		live_say_error(s, "unavailable", "Too much waits for the database: try again later.",
			       m->correlation_id.bytes);
		return;
	}
	a = calloc(1, sizeof(*a));
	if (a && m->correlation_id.bytes) {
		a->correlation = strdup(m->correlation_id.bytes);
		if (!a->correlation) {
			free(a);
			a = NULL;
		}
	}
	if (!a) {
		live_say_error(s, "unavailable", "The server is short of memory.", m->correlation_id.bytes);
		return;
	}
	a->node = s->node;
	a->bytes = bytes;
	budget_reserve(&s->node->budget, bytes);
	a->type = m->type;
	a->self = subscription_ref(s->self);
	s->acts++;
	e = calls_act(s->node->acts, &sent, on_act, a);
	if (e != OK)
		on_act(a, e, NULL);
}
