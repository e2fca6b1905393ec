#include "ws/subscribe/arrival.h"

#include <stdio.h>
#include <string.h>

#include "base/log/log.h"
#include "domain/http/problem.h"
#include "ws/identity/identity.h"
#include "ws/identity/session_audit.h"
#include "ws/identity/session_index.h"
#include "ws/identity/strangers.h"
#include "ws/identity/user_sessions.h"
#include "ws/metrics/node_metrics.h"
#include "ws/subscribe/authorizer.h"
#include "ws/subscribe/subscribe.h"

/* It may have been connected all the time: that it came is in the trail once it shows that it was not. */
static bool may_be_back(const struct session *s)
{
	return s->kind->resume != NULL;
}

static void attach(struct session *s)
{
	struct node *n = s->node;
	bool is_back, goes_on = false;

	s->dialog.identified = true;
	session_open(s);
	for (unsigned i = 0; i < s->subscriptions.count; i++)
		s->subscriptions.items[i]->subscriber.reader.user_id = s->user ? s->user->id : NULL;
	is_back = may_be_back(s) && s->kind->resume(s, &goes_on);
	if (s->state == SESSION_CLOSING)
		return;
	if (!is_back && may_be_back(s))
		session_audit_connect(s);
	if (!is_back && s->user)
		session_audit_authenticate(s, "ok");
	if (goes_on) {
		subscribe_welcome(s);
		return;
	}
	if (!authorizer_can_ask(n->authorizer)) {
		node_count_refused(n, REFUSED_DATABASE);
		session_close(s, CLOSE_TRY_LATER, "try again later");
		return;
	}
	identity_charge(s);
	authorizer_ask_all(n->authorizer, s);
}

void arrival_authenticate(struct session *s, const char *token, size_t len)
{
	if (!identity_take(s, subscription_topic(s->subscriptions.items[0]), token, len,
			   (size_t)s->node->config->user_connections_max)) {
		if (may_be_back(s))
			session_audit_connect(s);
		session_audit_authenticate(s, s->end.reason);
		return;
	}
	attach(s);
}

void arrival_let_in(struct session *s, const struct arrival *a)
{
	if (a->token) {
		arrival_authenticate(s, a->token, strlen(a->token));
	} else if (s->node->config->anonymous) {
		attach(s);
	} else if (s->kind->is.duplex) {
		strangers_add(s);
	} else {
		node_count_refused(s->node, REFUSED_TOKEN);
		s->end.detail = PROBLEM_NO_TOKEN;
		session_refuse(s, 401, CLOSE_POLICY, "authentication failed");
	}
}

/* A place is free, or may become so: one that brings a token may have a stranger's. */
static bool has_place(const struct session *s, const struct arrival *a)
{
	const struct node *n = s->node;

	return !session_index_is_over(n) || (a->token && n->sessions.strangers_count > 0);
}

struct session *arrival_begin(struct node *n, const struct transport *transport, void *socket, const struct arrival *a)
{
	struct session *s = session_new(n, transport, a->kind);

	if (!s)
		return NULL;
	s->outlet.socket = socket;
	s->dialog.diagnosis_id = a->selection ? a->selection->diagnosis_id : 0;
	snprintf(s->dialog.device, sizeof(s->dialog.device), "%s", a->device);
	s->end.keep_alive = a->keep_alive;
	s->in.inflates = a->inflates;
	s->client.address = a->client;
	s->client.allowed_origin = a->allowed_origin ? strdup(a->allowed_origin) : NULL;
	s->client.request_id = a->request_id ? strdup(a->request_id) : NULL;
	if (!may_be_back(s))
		session_audit_connect(s);
	if (a->selection && !session_subscribe(s, a->selection)) {
		session_close(s, CLOSE_TRY_LATER, "try again later");
	} else if (n->phase >= NODE_DRAINING) {
		node_count_refused(n, REFUSED_DRAINING);
		session_close(s, CLOSE_RESTART, "this server is going away: reconnect");
	} else if (!has_place(s, a)) {
		session_log(s, LOG_INFO_, "full connections=%zu", n->sessions.count - n->sessions.closing_count - 1);
		node_count_refused(n, REFUSED_FULL);
		session_close(s, CLOSE_TRY_LATER, "full: try again later");
	} else {
		s->kind->begin(s, a);
	}
	return s;
}
