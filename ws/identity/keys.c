#include "ws/identity/keys.h"

#include "base/log/log.h"
#include "ws/metrics/node_metrics.h"

enum err keys_read(const struct node *n, struct token_keys **keys)
{
	const struct config *c = n->config;
	struct token_rules rules = token_rules_of(c);
	struct buf problem = BUF_EMPTY;
	enum err e = token_keys_load(keys, c->jwt_keys, &rules, &problem);

	/* Twice as many: then hardly one of them has no place. */
	if (e == OK)
		e = token_keys_remember(*keys, 2 * (size_t)c->connections_max);
	if (e != OK) {
		log_error("%s", problem.bytes ? problem.bytes : err_text(e));
		token_keys_free(keys);
	}
	buf_free(&problem);
	return e;
}

void keys_take_over(struct node *n, struct token_keys *keys)
{
	token_keys_free(&n->identity.keys);
	n->identity.keys = keys;
}
