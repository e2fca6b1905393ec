/*
 * edition - what one topic's subscribers are told, put into words once for all of them.
 *
 * A WebSocket gets the tail's frames as they are. An event stream and a poll are told the same messages in other bytes,
 * which are nearly always the same bytes for everybody who listens to that topic alone. So the last that were made are
 * kept, with all that they were made of.
 *
 * Layer    ws.
 * Memory   one delivery's bytes, twice, for each voice.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "domain/cursor.h"
#include "domain/topic.h"
#include "ws/voice.h"

struct edition {
	char topic[TOPIC_NAME_MAX + 1];
	char epoch[EPOCH_MAX + 1];
	uint64_t seq;
	int64_t diagnosis_id;
	bool keep_alive;
	struct buf frames;
	struct buf bytes; /* what those are in the voice's words */
	bool is_common;	  /* anybody else who is told these frames there is told the same */
};

/*
 * These frames in the words of the subscription's voice; `last` is the edition of that voice. Lent, valid until the
 * next call; .bytes NULL: no memory.
 */
struct span edition_bytes(struct edition *last, const struct subscription *sub, struct span frames);

void edition_free(struct edition *e);
