#include "ws/encode/encode_cache.h"

#include <stdlib.h>
#include <string.h>

#include "ws/session/session.h"

struct encode_cache {
	char topic[TOPIC_NAME_MAX + 1];
	char epoch[EPOCH_MAX + 1];
	uint64_t seq;
	int64_t diagnosis_id;
	bool keep_alive;
	struct buf frames;
	struct buf bytes; /* what those are in the encoder's words */
	bool is_common;	  /* anybody else who is told these frames there is told the same */
};

enum err encode_cache_new(struct encode_cache **e)
{
	*e = calloc(1, sizeof(**e));
	return *e ? OK : ERR_MEMORY;
}

void encode_cache_free(struct encode_cache **e)
{
	if (!*e)
		return;
	buf_free(&(*e)->frames);
	buf_free(&(*e)->bytes);
	free(*e);
	*e = NULL;
}

/* Whether it is told what everybody is: nothing of its own. */
static bool is_common(const struct subscription *sub)
{
	const struct session *s = sub->session;

	return s->subscriptions.count == 1 && s->outlet.held.len == 0 && !s->client.allowed_origin &&
	       !s->client.request_id && sub->at.recovered && sub->at.missed_from == 0 && sub->at.rewound_from == 0;
}

static bool fits(const struct encode_cache *e, const struct subscription *sub, struct span frames)
{
	const struct session *s = sub->session;
	const struct hub_topic *t = sub->subscriber.topic;

	return e->is_common && is_common(sub) && e->seq == sub->subscriber.seq && e->keep_alive == s->end.keep_alive &&
	       e->diagnosis_id == s->dialog.diagnosis_id && e->frames.len == frames.len &&
	       memcmp(e->frames.bytes, frames.bytes, frames.len) == 0 && strcmp(e->epoch, t->epoch) == 0 &&
	       strcmp(e->topic, t->name) == 0;
}

static void remember(struct encode_cache *e, const struct subscription *sub, struct span frames)
{
	const struct hub_topic *t = sub->subscriber.topic;

	memcpy(e->topic, t->name, sizeof(e->topic));
	memcpy(e->epoch, t->epoch, sizeof(e->epoch));
	e->seq = sub->subscriber.seq;
	e->diagnosis_id = sub->session->dialog.diagnosis_id;
	e->keep_alive = sub->session->end.keep_alive;
	buf_clear(&e->frames);
	buf_add(&e->frames, frames.bytes, frames.len);
	e->is_common = buf_ok(&e->frames);
}

struct span encode_cache_bytes(struct encode_cache *last, const struct subscription *sub, struct span frames)
{
	if (!fits(last, sub, frames)) {
		last->is_common = false;
		buf_clear(&last->bytes);
		sub->session->kind->encoder->deliver(&last->bytes, sub, frames);
		if (!buf_ok(&last->bytes))
			return (struct span){0};
		if (is_common(sub))
			remember(last, sub, frames);
	}
	return (struct span){last->bytes.bytes, last->bytes.len};
}
