#include "ws/feed.h"

#include <stdlib.h>

#include "base/log.h"
#include "domain/frame.h"
#include "store/calls.h"
#include "ws/control.h"

#define FETCH_TOPICS 64
#define FETCH_ROWS 500	   /* of a topic */
#define FETCH_BYTES 262144 /* of a topic; so at most 16 MiB in one answer, one larger message a topic aside */
#define SLICE_WRITES 512   /* before the loop looks at the sockets again: a few ms */

struct feed {
	struct node *node;
	uv_idle_t runner; /* active while somebody is due */
	bool under_way;
	uint64_t fetches;
};

static void fetch(struct feed *f);

/* From the loop alone: this ends sessions. */
static void run_slice(struct feed *f)
{
	hub_run(f->node->hub, SLICE_WRITES);
	f->node->end_replies(f->node);
	/* Whoever came back by that may be due, too. */
	uv_idle_stop(&f->runner);
	feed_run(f);
}

static void on_run(uv_idle_t *runner)
{
	run_slice(runner->data);
}

void feed_run(struct feed *f)
{
	if (hub_run(f->node->hub, 0))
		uv_idle_start(&f->runner, on_run);
}

enum err feed_new(struct feed **f, struct node *n)
{
	*f = calloc(1, sizeof(**f));
	if (!*f)
		return ERR_MEMORY;
	(*f)->node = n;
	uv_idle_init(n->loop, &(*f)->runner);
	(*f)->runner.data = *f;
	return OK;
}

void feed_free(struct feed **f)
{
	free(*f);
	*f = NULL;
}

static void on_fetch(void *context, enum err e, const struct fetch_row *rows, size_t count)
{
	struct feed *f = context;
	struct hub *h = f->node->hub;
	struct hub_topic *t = NULL;
	size_t topic_rows = 0, topic_bytes = 0;

	f->under_way = false;
	/* Away: the heartbeat finds out what was missed when the database is back. */
	if (e != OK)
		return;
	for (size_t i = 0; i < count; i++) {
		const struct stored_message *m = &rows[i].message;

		if (i == 0 || rows[i].topic_id != rows[i - 1].topic_id) {
			t = hub_find(h, rows[i].topic_id);
			topic_rows = topic_bytes = 0;
		}
		topic_bytes += m->body.len;
		/* The database has counted the bytes of one that came without its body, too. */
		if (++topic_rows == FETCH_ROWS || topic_bytes >= FETCH_BYTES || !m->body.bytes)
			hub_ring(h, rows[i].topic_id);
		/* Let go, or let go and held anew, while this was on its way. */
		if (!t || t->stale || m->seq <= tail_seq(t->tail))
			continue;
		if (rows[i].revocation)
			control_revoke(f->node, t, m->to_user, m->seq);
		/* Its last holder may have gone with that. */
		t = hub_find(h, rows[i].topic_id);
		if (!t)
			continue;
		if (hub_append(h, t, m) != OK) {
			log_error("no memory for a message: it is fetched again");
			hub_ring(h, t->id);
			break;
		}
	}
	fetch(f);
	run_slice(f);
}

static void fetch(struct feed *f)
{
	int64_t ids[FETCH_TOPICS], after[FETCH_TOPICS];
	size_t count;

	if (f->under_way || !pipeline_is_up(f->node->pipeline))
		return;
	count = hub_take_rung(f->node->hub, ids, after, FETCH_TOPICS);
	if (count == 0)
		return;
	f->under_way = true;
	f->fetches++;
	if (calls_fetch(f->node->pipeline, ids, after, count, FETCH_ROWS, FETCH_BYTES, on_fetch, f) != OK)
		f->under_way = false;
}

void feed_ring(struct feed *f, int64_t topic_id)
{
	hub_ring(f->node->hub, topic_id);
	fetch(f);
}

void feed_ephemeral(struct feed *f, int64_t topic_id, const char *to_user, const struct uuid *exclude, struct span body)
{
	struct hub_topic *t = hub_find(f->node->hub, topic_id);
	uint8_t header[FRAME_HEADER_MAX];
	struct buf frame = BUF_EMPTY;

	if (!t)
		return;
	buf_add(&frame, header, frame_text_header(header, body.len));
	buf_add(&frame, body.bytes, body.len);
	if (!buf_ok(&frame) ||
	    hub_ephemeral(f->node->hub, t, (struct span){frame.bytes, frame.len}, to_user, exclude) != OK)
		log_error("no memory for an ephemeral message");
	buf_free(&frame);
	feed_run(f);
}

uint64_t feed_fetches(const struct feed *f)
{
	return f->fetches;
}
