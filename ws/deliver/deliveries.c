#include "ws/deliver/deliveries.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "store/sidecar/sql_node.h"
#include "ws/session/session.h"

/* How far a topic was delivered, not yet written. */
struct delivered {
	UT_hash_handle hh; /* by topic_id */
	int64_t topic_id;
	int64_t seq, confirmed_seq;
	char epoch[EPOCH_MAX + 1]; /* that they are of */
};

/* How far a device has come on a topic. */
struct confirmed {
	UT_hash_handle hh; /* by key */
	int64_t seq;
	char epoch[EPOCH_MAX + 1];
	const char *user_id, *device, *topic; /* in `key` */
	char key[];			      /* these three, each with its NUL */
};

/* A message for one user alone that was sent. */
struct sent {
	int64_t topic_id;
	int64_t seq;
	char epoch[EPOCH_MAX + 1];
};

bool deliveries_are_none(const struct deliveries *d)
{
	return d->sent.len == 0 && !d->by_topic && !d->devices;
}

size_t deliveries_topics(const struct deliveries *d)
{
	return HASH_COUNT(d->by_topic);
}

size_t deliveries_private(const struct deliveries *d)
{
	return d->sent.len / sizeof(struct sent);
}

size_t deliveries_devices(const struct deliveries *d)
{
	return HASH_COUNT(d->devices);
}

void deliveries_forget(struct deliveries *d)
{
	struct delivered *t, *next;
	struct confirmed *c, *after;

	HASH_ITER (hh, d->by_topic, t, next) {
		HASH_DEL(d->by_topic, t);
		free(t);
	}
	HASH_ITER (hh, d->devices, c, after) {
		HASH_DEL(d->devices, c);
		free(c);
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
	t->confirmed_seq = (int64_t)topic->confirmed.seq;
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

/* NULL: no memory. */
static struct confirmed *confirmed_of(struct deliveries *d, const char *user_id, const char *device, const char *topic)
{
	size_t user_size = strlen(user_id) + 1, device_size = strlen(device) + 1, topic_size = strlen(topic) + 1;
	size_t size = user_size + device_size + topic_size;
	struct confirmed *made = calloc(1, sizeof(*made) + size), *found;

	if (!made)
		return NULL;
	made->user_id = memcpy(made->key, user_id, user_size);
	made->device = memcpy(made->key + user_size, device, device_size);
	made->topic = memcpy(made->key + user_size + device_size, topic, topic_size);
	HASH_FIND(hh, d->devices, made->key, size, found);
	if (found) {
		free(made);
		return found;
	}
	HASH_ADD_KEYPTR(hh, d->devices, made->key, size, made);
	if (HASH_HAS(hh, made))
		return made;
	free(made);
	return NULL;
}

void deliveries_add_device(struct deliveries *d, const struct subscription *sub, uint64_t seq)
{
	const struct hub_topic *topic = sub->subscriber.topic;
	struct confirmed *c = confirmed_of(d, sub->subscriber.reader.user_id, sub->session->dialog.device, topic->name);

	/* Where there is no memory it is sent again. Of two numberings the later one counts. */
	if (!c || (strcmp(c->epoch, topic->epoch) == 0 && c->seq >= (int64_t)seq))
		return;
	c->seq = (int64_t)seq;
	memcpy(c->epoch, topic->epoch, sizeof(c->epoch));
}

void deliveries_take(const struct deliveries *d, struct flush *f)
{
	const struct sent *sent = (const struct sent *)(const void *)d->sent.bytes;

	for (const struct delivered *t = d->by_topic; t; t = t->hh.next) {
		f->delivered_topics[f->delivered_count] = t->topic_id;
		f->delivered_epochs[f->delivered_count] = t->epoch;
		f->confirmed_seqs[f->delivered_count] = t->confirmed_seq;
		f->delivered_seqs[f->delivered_count++] = t->seq;
	}
	for (size_t i = 0; i < d->sent.len / sizeof(*sent); i++) {
		f->sent_topics[f->sent_count] = sent[i].topic_id;
		f->sent_epochs[f->sent_count] = sent[i].epoch;
		f->sent_seqs[f->sent_count++] = sent[i].seq;
	}
	for (const struct confirmed *c = d->devices; c; c = c->hh.next) {
		f->device_users[f->devices_count] = c->user_id;
		f->device_names[f->devices_count] = c->device;
		f->device_topics[f->devices_count] = c->topic;
		f->device_epochs[f->devices_count] = c->epoch;
		f->device_seqs[f->devices_count++] = c->seq;
	}
}
