#include "ws/upkeep/accounts.h"

#include <stdlib.h>

#include "store/sidecar/sql_live.h"
#include "ws/identity/identity.h"
#include "ws/identity/user_sessions.h"
#include "ws/node.h"
#include "ws/session/session.h"
#include "ws/subscribe/revocation.h"

struct accounts {
	struct node *node;
	bool due; /* to be asked, and not under way */
	bool under_way;
	unsigned asked; /* how many times: user.asked */
};

enum err accounts_new(struct accounts **a, struct node *n)
{
	*a = calloc(1, sizeof(**a));
	if (!*a)
		return ERR_MEMORY;
	(*a)->node = n;
	return OK;
}

void accounts_free(struct accounts **a)
{
	free(*a);
	*a = NULL;
}

static void on_accounts(void *context, enum err e, const char *const *withdrawn, size_t count)
{
	struct accounts *a = context;

	a->under_way = false;
	/* The next heartbeat tries again. */
	if (e != OK) {
		a->due = true;
		return;
	}
	for (size_t i = 0; i < count; i++)
		revocation_reconnect(a->node, withdrawn[i]);
	if (a->due)
		accounts_ask(a);
}

void accounts_ask(struct accounts *a)
{
	struct node *n = a->node;
	struct session *s;
	const char **ids;
	size_t count = 0;

	if (!n->config->require_user)
		return;
	a->due = true;
	if (a->under_way || !pipeline_is_up(n->db.queries))
		return;
	ids = calloc(n->sessions.count + 1, sizeof(*ids));
	if (!ids)
		return;
	a->due = false;
	a->asked++;
	TAILQ_FOREACH (s, &n->sessions.all, link) {
		if (!s->user || !identity_needs_account(s) || s->user->asked == a->asked)
			continue;
		s->user->asked = a->asked;
		ids[count++] = s->user->id;
	}
	a->under_way = count > 0 && sql_accounts(n->db.queries, ids, count, on_accounts, a) == OK;
	free(ids);
}

void accounts_check(struct accounts *a)
{
	if (a->due || doorbell_is_deaf(a->node->db.listener))
		accounts_ask(a);
}
