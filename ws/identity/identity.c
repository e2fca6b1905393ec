#include "ws/identity/identity.h"

#include <string.h>

#include "base/log/log.h"
#include "domain/caller/rate.h"
#include "ws/identity/strangers.h"
#include "ws/identity/user_sessions.h"
#include "ws/metrics/node_metrics.h"

#define RESUME_COST (RATE_ONE / 8) /* of a poll that goes on from memory */
#define TOPIC_COST (RATE_ONE / 16) /* of each topic after the first */

static bool is_limited(enum role role)
{
	return role < ROLE_SERVICE;
}

static enum err verify(const struct session *s, const char *what, const char *token, size_t len,
		       struct token_claims *claims, const struct token_fault **fault)
{
	enum err e = token_verify(s->node->identity.keys, token, len, clock_wall_us() / 1000000, claims, fault);

	if (e == OK || *fault)
		metrics_add(&s->node->metrics, METRIC_TOKEN_CHECKS, token_result_of(*fault), 0, 1);
	if (e != OK)
		session_log(s, LOG_INFO_, "refused a token topic=%s why=\"%s\"", what,
			    *fault ? (*fault)->why : err_text(e));
	return e;
}

/* Connections to the live endpoints have a limit of their own. */
static struct user **users_of(const struct session *s)
{
	return s->kind->is.needs_user ? &s->node->sessions.live_users : &s->node->sessions.users;
}

/* The first connection of a user, or the last: of both sorts of them together. */
static void count_user(const struct session *s, int more)
{
	const struct node *n = s->node;
	struct user *others = s->kind->is.needs_user ? n->sessions.users : n->sessions.live_users;

	if (s->user->connections == 1 && !user_sessions_find(others, s->user->id))
		metrics_add(&n->metrics, METRIC_USERS, 0, 0, more);
}

void identity_leave(struct session *s)
{
	if (!s->user)
		return;
	count_user(s, -1);
	TAILQ_REMOVE(&s->user->sessions, s, of_user);
	user_sessions_leave(users_of(s), s->user);
	s->user = NULL;
	s->client.user_id = NULL;
}

bool identity_take(struct session *s, const char *what, const char *token, size_t len, size_t connections_max)
{
	const struct token_fault *fault;
	struct token_claims claims;
	struct node *n = s->node;
	struct user *u;
	bool full;

	if (verify(s, what, token, len, &claims, &fault) != OK) {
		if (!fault) {
			session_close(s, CLOSE_TRY_LATER, "try again later");
			return false;
		}
		node_count_refused(n, REFUSED_TOKEN);
		s->end.error_code = "authentication_failed";
		s->end.detail = fault->detail;
		session_refuse(s, 401, CLOSE_POLICY, fault->reason);
		return false;
	}
	if (is_limited(claims.role) &&
	    !rate_table_take(n->identity.arrivals, claims.user_id, n->config->connect_rate_per_s,
			     n->config->connect_burst, RESUME_COST, clock_monotonic_ms() * 1000, NULL)) {
		session_log(s, LOG_INFO_, "refused a connection: its user comes too often");
		node_count_refused(n, REFUSED_USER_LIMIT);
		s->end.detail = "You come more often than is allowed: see the Retry-After header.";
		session_refuse(s, 429, CLOSE_TRY_LATER, "coming too often");
		return false;
	}
	if (!s->kind->is.needs_user && !is_limited(claims.role))
		connections_max = 0;
	u = user_sessions_enter(users_of(s), claims.user_id, connections_max, &full);
	if (!u) {
		if (full) {
			session_log(s, LOG_INFO_, "refused a connection: the user has as many as allowed");
			node_count_refused(n, REFUSED_USER_LIMIT);
			s->end.error_code = "too_many_connections";
			session_refuse(s, 429, CLOSE_POLICY, "too many connections");
		} else {
			session_close(s, CLOSE_TRY_LATER, "try again later");
		}
		return false;
	}
	s->user = u;
	s->client.user_id = u->id;
	count_user(s, 1);
	TAILQ_INSERT_TAIL(&u->sessions, s, of_user);
	strangers_make_room(n);
	/* The last of the strangers was this one. */
	if (s->state == SESSION_CLOSING)
		return false;
	s->role = claims.role;
	s->times.expires_s = claims.expires_s;
	return true;
}

/* A good one is remembered: that it is looked at again costs next to nothing. */
static bool is_bad(const struct node *n, const char *token)
{
	const struct token_fault *fault;
	struct token_claims claims;

	return token_verify(n->identity.keys, token, strlen(token), clock_wall_us() / 1000000, &claims, &fault) != OK &&
	       fault;
}

int64_t identity_stranger_cost(const struct node *n, const char *token, const struct session_kind *kind)
{
	if (token)
		return is_bad(n, token) ? RATE_ONE : 0;
	if (n->config->anonymous && !kind->is.needs_user)
		return RESUME_COST;
	return kind->is.duplex ? RATE_ONE : 0;
}

bool identity_take_stranger(struct node *n, int64_t cost)
{
	return rate_take(&n->identity.strangers_bucket, n->config->stranger_rate_per_s, n->config->stranger_burst, cost,
			 clock_monotonic_ms() * 1000, NULL);
}

void identity_charge(const struct session *s)
{
	int64_t cost = RATE_ONE - RESUME_COST + (int64_t)(MAX(s->subscriptions.count, 1) - 1) * TOPIC_COST;
	struct node *n = s->node;

	if (!s->user)
		rate_charge(&n->identity.strangers_bucket, n->config->stranger_rate_per_s, cost,
			    clock_monotonic_ms() * 1000);
	else if (is_limited(s->role))
		identity_charge_more(n, s->user->id, cost);
}

bool identity_take_topic(const struct session *s)
{
	const struct node *n = s->node;

	if (!s->user)
		return identity_take_stranger(s->node, TOPIC_COST);
	return !is_limited(s->role) ||
	       rate_table_take(n->identity.arrivals, s->user->id, n->config->connect_rate_per_s,
			       n->config->connect_burst, TOPIC_COST, clock_monotonic_ms() * 1000, NULL);
}

void identity_charge_more(struct node *n, const char *user_id, int64_t cost)
{
	rate_table_charge(n->identity.arrivals, user_id, n->config->connect_rate_per_s, cost,
			  clock_monotonic_ms() * 1000);
}

enum err identity_renew(struct session *s, const char *what, const char *token, size_t len, const char **detail)
{
	const struct token_fault *fault;
	struct token_claims claims;
	enum err e = verify(s, what, token, len, &claims, &fault);

	if (e != OK) {
		*detail = fault ? fault->detail : "The server is short of memory.";
		return e;
	}
	/* What was subscribed to was judged by the role: with another it has to come again. */
	if (strcmp(claims.user_id, s->user->id) != 0 || claims.role != s->role) {
		*detail = "This token is not one of this user in this role.";
		return ERR_UNAUTHORIZED;
	}
	s->times.expires_s = claims.expires_s;
	session_set_deadline(s, clock_monotonic_ms());
	return OK;
}

bool identity_needs_account(const struct session *s)
{
	return s->node->config->require_user && s->role < ROLE_SERVICE;
}
