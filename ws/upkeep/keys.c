#include "ws/upkeep/keys.h"

#include <stdlib.h>

#include "base/log/log.h"
#include "ws/metrics/node_metrics.h"

struct key_reading {
	uv_work_t work;
	struct node *node;
	struct token_keys *keys; /* owned: what was read; NULL: nothing usable */
};

/* In whatever thread. */
static enum err load(const struct config *c, struct token_keys **keys)
{
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

enum err keys_load(struct node *n)
{
	return load(n->config, &n->identity.keys);
}

static void read_files(uv_work_t *work)
{
	struct key_reading *r = work->data;

	if (load(r->node->config, &r->keys) != OK)
		r->keys = NULL;
}

static void take_over(uv_work_t *work, int status)
{
	struct key_reading *r = work->data;
	struct node *n = r->node;

	(void)status;
	n->identity.reading_keys = false;
	if (!r->keys)
		node_count(n, METRIC_KEY_RELOAD_FAILURES);
	if (r->keys) {
		token_keys_free(&n->identity.keys);
		n->identity.keys = r->keys;
		log_notice("keys read");
	}
	free(r);
	/* The files may have changed since they were read. */
	if (n->identity.read_keys_again)
		keys_reload(n);
}

void keys_reload(struct node *n)
{
	struct key_reading *r = n->identity.reading_keys ? NULL : calloc(1, sizeof(*r));

	n->identity.read_keys_again = n->identity.reading_keys;
	if (n->identity.reading_keys)
		return;
	if (r) {
		r->node = n;
		r->work.data = r;
		n->identity.reading_keys = uv_queue_work(n->loop, &r->work, read_files, take_over) == 0;
	}
	if (!n->identity.reading_keys) {
		free(r);
		node_count(n, METRIC_KEY_RELOAD_FAILURES);
		log_error("the keys are not read again: no memory");
	}
}
