#include "ws/live/live_admission.h"

#include <stdlib.h>

#include "store/sidecar/sql_live.h"
#include "ws/deliver/presence.h"
#include "ws/identity/identity.h"
#include "ws/identity/session_audit.h"
#include "ws/identity/user_sessions.h"
#include "ws/live/live_session.h"
#include "ws/metrics/node_metrics.h"

static void refuse_user(struct session *s, const char *error_code, const char *reason, const char *why)
{
	session_audit_authenticate(s, why);
	s->end.error_code = error_code;
	session_close(s, CLOSE_POLICY, reason);
}

struct admitting {
	struct node *node;
	struct subscription *self; /* with a reference */
};

static void on_admit(void *context, enum err e)
{
	struct admitting *a = context;
	struct subscription *self = a->self;
	struct session *s = self->session;

	if (!s || s->state != SESSION_OPEN) {
		/* It went meanwhile. */
		if (e == OK)
			presence_erase(a->node->fanout.presence, self);
	} else if (e == OK) {
		session_audit_authenticate(s, "ok");
		self->subscriber.reader.user_id = s->user->id;
		subscription_step(self, STEP_ADMITTED, NULL);
	} else if (e == ERR_UNAUTHORIZED) {
		node_count_refused(s->node, REFUSED_TOKEN);
		s->end.detail = "This user has no active account.";
		refuse_user(s, "authentication_failed", "no active account", "no such user");
	} else if (e == ERR_LIMIT) {
		node_count_refused(s->node, REFUSED_USER_LIMIT);
		refuse_user(s, "too_many_connections", "too many connections", "too many connections");
	} else {
		node_count_refused(s->node, REFUSED_DATABASE);
		session_close(s, CLOSE_TRY_LATER, "try again later");
	}
	subscription_unref(self);
	free(a);
}

void live_admit(struct session *s)
{
	const struct config *c = s->node->config;
	struct subscription *self = live_session_of(s)->self;
	struct admitting *a = calloc(1, sizeof(*a));
	char id[UUID_TEXT_SIZE], connected_at[CLOCK_TEXT_SIZE];
	enum err e;

	if (!a) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	identity_charge(s);
	a->node = s->node;
	a->self = subscription_ref(self);
	e = sql_admit(s->node->db.queries,
		      &(struct admission){
			      .node_id = s->node->id_text,
			      .user_id = s->user->id,
			      .connection_id = uuid_text(id, &s->id),
			      .transport = session_transport(s),
			      .connected_at = clock_text(connected_at, self->record.connected_us),
			      .require_user = identity_needs_account(s),
			      .connections_max = c->live_connections_max,
		      },
		      on_admit, a);
	if (e != OK)
		on_admit(a, e);
}
