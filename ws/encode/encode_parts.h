/*
 * encode_parts - what several encoders say alike.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/session.h"

/* For each topic that its client knows to have, where it goes on. */
struct encode_places {
	size_t count;
	struct resume_point items[SELECTION_MAX];
};

void encode_places(struct encode_places *p, const struct session *s);

/* What the client goes on from: of all topics. */
void encode_cursor(struct buf *out, const struct session *s);

/* The `connect` message: JSON text. */
void encode_connect(struct buf *out, const struct session *s);

/* Why the session ends, as a sentence where there is one. */
const char *encode_sentence(const struct session *s);

/* For an encoder that needs nothing before or behind what was missed. */
void encode_nothing(struct buf *out, const struct subscription *sub);
