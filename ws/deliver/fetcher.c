#include "ws/deliver/fetcher.h"

#include <stdlib.h>

#include "base/log/log.h"
#include "domain/websocket/frame.h"
#include "store/sidecar/sql_fetch.h"
#include "ws/metrics/node_metrics.h"

#define FETCH_TOPICS 64
#define FETCH_ROWS 500	   /* of a topic */
#define FETCH_BYTES 262144 /* of a topic; so at most 16 MiB in one answer, one larger message a topic aside */
#define AGAIN_MS 200	   /* after a fetch that failed, or a message that found no memory */
#define SLICE_WRITES 512   /* before the loop looks at the sockets again: a few ms */

struct asked {
	int64_t id;
	uint64_t serial; /* of the topic that was fetched for: what is here under its id may have been held anew */
};

struct fetcher {
	struct node *node;
	uv_idle_t runner; /* active while somebody is due */
	uv_timer_t again;
	struct asked asked[FETCH_TOPICS]; /* while under_way */
	size_t asked_count;
	bool under_way;
	int64_t asked_us; /* while under_way: since when */
};

static void fetch(struct fetcher *f);

/* From the loop alone: this ends sessions. */
static void run_slice(struct fetcher *f)
{
	hub_run(f->node->fanout.hub, SLICE_WRITES, clock_monotonic_ms());
	client_sockets_run(&f->node->sockets);
	/* Whoever came back by that may be due, too. */
	uv_idle_stop(&f->runner);
	fetcher_run(f);
}

static void on_run(uv_idle_t *runner)
{
	run_slice(runner->data);
}

void fetcher_run(struct fetcher *f)
{
	if (hub_is_busy(f->node->fanout.hub))
		uv_idle_start(&f->runner, on_run);
}

enum err fetcher_new(struct fetcher **f, struct node *n)
{
	*f = calloc(1, sizeof(**f));
	if (!*f)
		return ERR_MEMORY;
	(*f)->node = n;
	uv_idle_init(n->loop, &(*f)->runner);
	uv_timer_init(n->loop, &(*f)->again);
	(*f)->runner.data = (*f)->again.data = *f;
	return OK;
}

void fetcher_free(struct fetcher **f)
{
	free(*f);
	*f = NULL;
}

static void on_again(uv_timer_t *timer)
{
	fetch(timer->data);
}

static void fetch_again(struct fetcher *f)
{
	/* Not put off by whatever else fails meanwhile. */
	if (!uv_is_active((uv_handle_t *)&f->again))
		uv_timer_start(&f->again, on_again, AGAIN_MS, 0);
}

/* What was asked for rings still. (Away: the heartbeat finds out, too, when the database is back.) */
static void fetch_failed(struct fetcher *f)
{
	f->under_way = false;
	for (size_t i = 0; i < f->asked_count; i++)
		hub_ring(f->node->fanout.hub, f->asked[i].id);
	fetch_again(f);
}

/* The topic that was fetched for; NULL: let go since, or let go and held anew, perhaps with another tail or epoch. */
static struct hub_topic *asked_topic(const struct fetcher *f, int64_t id)
{
	struct hub_topic *t = hub_find(f->node->fanout.hub, id);

	for (size_t i = 0; t && i < f->asked_count; i++)
		if (f->asked[i].id == id)
			return f->asked[i].serial == t->serial ? t : NULL;
	return NULL;
}

static void on_fetch(void *context, enum err e, const struct fetch_row *rows, size_t count)
{
	struct fetcher *f = context;
	struct hub *h = f->node->fanout.hub;
	struct hub_topic *t = NULL;
	struct stored_message told; /* as it goes out: with the topic's cursor */
	size_t topic_rows = 0, topic_bytes = 0;
	bool is_short = false; /* of memory */
	bool agrees = true, differs = false;

	if (e != OK) {
		fetch_failed(f);
		return;
	}
	f->under_way = false;
	metrics_observe(&f->node->metrics, METRIC_FETCH_DURATION, 0, 0, clock_monotonic_us() - f->asked_us, 1);
	for (size_t i = 0; i < count; i++) {
		const struct stored_message *m = &rows[i].message;

		if (i == 0 || rows[i].topic_id != rows[i - 1].topic_id) {
			t = asked_topic(f, rows[i].topic_id);
			topic_rows = topic_bytes = 0;
		}
		agrees = agrees && !rows[i].other_epoch;
		if (!t)
			continue;
		if (rows[i].other_epoch) {
			hub_ring(h, t->id);
			differs = true;
			continue;
		}
		node_count(f->node, METRIC_FETCHED_MESSAGES);
		topic_bytes += m->body.len;
		/* The database has counted the bytes of one that came without its body, too. */
		if (++topic_rows == FETCH_ROWS || topic_bytes >= FETCH_BYTES || !m->body.bytes)
			hub_ring(h, rows[i].topic_id);
		if (m->seq <= tail_seq(t->tail))
			continue;
		if (rows[i].revocation) {
			hub_revoke(h, t, m->to_user, m->seq);
			/* Its last holder may have gone with that. */
			t = asked_topic(f, rows[i].topic_id);
			if (!t)
				continue;
		}
		told = *m;
		told.epoch = t->epoch;
		if (hub_append(h, t, &told) != OK) {
			log_error("no memory for a message: it is fetched again");
			hub_ring(h, t->id);
			is_short = true;
			t = NULL; /* what comes behind it in its topic comes with it again */
		}
	}
	if (agrees)
		f->node->db.agreement = AGREED;
	if (differs)
		agreement_differs(&f->node->db.agreement);
	if (differs || is_short)
		fetch_again(f);
	else
		fetch(f);
	run_slice(f);
}

static void fetch(struct fetcher *f)
{
	struct hub_topic *topics[FETCH_TOPICS];
	int64_t ids[FETCH_TOPICS], after[FETCH_TOPICS];
	const char *epochs[FETCH_TOPICS];

	if (f->under_way || !pipeline_is_up(f->node->db.fetches))
		return;
	f->asked_count = hub_take_rung(f->node->fanout.hub, topics, FETCH_TOPICS);
	if (f->asked_count == 0)
		return;
	for (size_t i = 0; i < f->asked_count; i++) {
		f->asked[i] = (struct asked){topics[i]->id, topics[i]->serial};
		ids[i] = topics[i]->id;
		after[i] = (int64_t)tail_seq(topics[i]->tail);
		epochs[i] = topics[i]->epoch;
	}
	f->under_way = true;
	f->asked_us = clock_monotonic_us();
	node_count(f->node, METRIC_FETCHES);
	if (sql_fetch(f->node->db.fetches, ids, after, epochs, f->asked_count, FETCH_ROWS, FETCH_BYTES, on_fetch, f) !=
	    OK)
		fetch_failed(f);
}

void fetcher_go_on(struct fetcher *f)
{
	fetch(f);
}

void fetcher_rung(void *node, int64_t topic_id)
{
	node_count(node, METRIC_NOTIFICATIONS);
	fetcher_ring(((struct node *)node)->fanout.fetcher, topic_id);
}

void fetcher_ring(struct fetcher *f, int64_t topic_id)
{
	hub_ring(f->node->fanout.hub, topic_id);
	fetch(f);
}

void fetcher_ephemeral(void *node, int64_t topic_id, const char *to_user, const struct uuid *exclude, struct span body)
{
	struct fetcher *f = ((struct node *)node)->fanout.fetcher;
	struct hub_topic *t = hub_find(f->node->fanout.hub, topic_id);
	uint8_t header[FRAME_HEADER_MAX];
	struct buf frame = BUF_EMPTY;

	node_count(node, METRIC_NOTIFICATIONS);
	if (!t)
		return;
	buf_add(&frame, header, frame_text_header(header, body.len));
	buf_add(&frame, body.bytes, body.len);
	if (!buf_ok(&frame) ||
	    hub_ephemeral(f->node->fanout.hub, t, (struct span){frame.bytes, frame.len}, to_user, exclude) != OK)
		log_error("no memory for an ephemeral message");
	buf_free(&frame);
	fetcher_run(f);
}
