#include "ws/reload.h"

#include "base/log/log.h"
#include "ws/identity/keys.h"
#include "ws/metrics/node_metrics.h"

static void take_limits(struct node *n)
{
	const struct config *c = n->config;

	n->dialog_limits = (struct dialog_limits){c->client_rate_per_s, c->client_burst, c->bad_messages_max};
}

enum err reload_init(struct reload *r, struct node *n, struct config *c)
{
	*r = (struct reload){.node = n};
	r->work.data = r;
	take_limits(n);
	return settings_file_open(&r->file, c);
}

void reload_end(struct reload *r)
{
	/* Else the thread has it, until the program's end. */
	if (!r->under_way)
		settings_file_close(&r->file);
}

static void read_files(uv_work_t *work)
{
	struct reload *r = work->data;

	settings_file_reload(r->file);
	if (keys_read(r->node, &r->keys) != OK)
		r->keys = NULL;
}

static void take_over(uv_work_t *work, int status)
{
	struct reload *r = work->data;

	(void)status;
	r->under_way = false;
	take_limits(r->node);
	if (r->keys) {
		keys_take_over(r->node, r->keys);
		log_notice("keys read");
	} else {
		node_count(r->node, METRIC_KEY_RELOAD_FAILURES);
	}
	r->keys = NULL;
	/* The files may have changed since they were read. */
	if (r->again)
		reload_begin(r);
}

void reload_begin(struct reload *r)
{
	r->again = r->under_way;
	if (r->under_way)
		return;
	r->under_way = uv_queue_work(r->node->loop, &r->work, read_files, take_over) == 0;
	if (!r->under_way) {
		node_count(r->node, METRIC_KEY_RELOAD_FAILURES);
		log_error("settings and keys are not read again: no thread");
	}
}
