#include "ws/deliver/deliveries.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "store/sidecar/sql_node.h"

/* How far a topic was delivered, not yet written. */
struct delivered {
	UT_hash_handle hh; /* by topic_id */
	int64_t topic_id;
	int64_t seq;
	char epoch[EPOCH_MAX + 1]; /* that the seq is of */
};

/* A message for one user alone that was sent. */
struct sent {
	int64_t topic_id;
	int64_t seq;
	char epoch[EPOCH_MAX + 1];
};

bool deliveries_are_none(const struct deliveries *d)
{
	return d->sent.len == 0 && !d->by_topic;
}

size_t deliveries_topics(const struct deliveries *d)
{
	return HASH_COUNT(d->by_topic);
}

size_t deliveries_private(const struct deliveries *d)
{
	return d->sent.len / sizeof(struct sent);
}

void deliveries_forget(struct deliveries *d)
{
	struct delivered *t, *next;

	HASH_ITER (hh, d->by_topic, t, next) {
		HASH_DEL(d->by_topic, t);
		free(t);
	}
	buf_free(&d->sent);
}

void deliveries_add(struct deliveries *d, const struct hub_topic *topic)
{
	struct delivered *t;

	/* What is kept for its id is of the numbering that is the database's now. */
	if (topic->stale)
		return;
	HASH_FIND(hh, d->by_topic, &topic->id, sizeof(topic->id), t);
	if (!t) {
		t = calloc(1, sizeof(*t));
		if (!t)
			return; /* it may be sent twice, then */
		t->topic_id = topic->id;
		HASH_ADD(hh, d->by_topic, topic_id, sizeof(t->topic_id), t);
		if (!HASH_HAS(hh, t)) {
			free(t);
			return;
		}
	}
	t->seq = (int64_t)topic->delivered_seq;
	memcpy(t->epoch, topic->epoch, sizeof(t->epoch));
}

void deliveries_add_private(struct deliveries *d, const struct hub_topic *topic, uint64_t seq)
{
	struct sent sent = {.topic_id = topic->id, .seq = (int64_t)seq};

	memcpy(sent.epoch, topic->epoch, sizeof(sent.epoch));
	buf_add(&d->sent, &sent, sizeof(sent));
	/* One that finds no memory may be sent twice; those before it need not. */
	d->sent.failed = false;
}

void deliveries_take(const struct deliveries *d, struct flush *f)
{
	const struct sent *sent = (const struct sent *)(const void *)d->sent.bytes;

	for (const struct delivered *t = d->by_topic; t; t = t->hh.next) {
		f->delivered_topics[f->delivered_count] = t->topic_id;
		f->delivered_epochs[f->delivered_count] = t->epoch;
		f->delivered_seqs[f->delivered_count++] = t->seq;
	}
	for (size_t i = 0; i < d->sent.len / sizeof(*sent); i++) {
		f->sent_topics[f->sent_count] = sent[i].topic_id;
		f->sent_epochs[f->sent_count] = sent[i].epoch;
		f->sent_seqs[f->sent_count++] = sent[i].seq;
	}
}
