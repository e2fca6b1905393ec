/*
 * page - messages that a subscription missed, in the words of its session's encoder: one reconnect_messages message for who has
 * just come, and plain messages for who was slow.
 *
 *	page_add(), page_add_stored() …  page_send()
 *
 * Layer    ws.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "domain/fanout/tail.h"
#include "ws/session/subscription.h"

struct page {
	struct subscription *subscription; /* borrowed */
	struct buf bytes;
	struct buf marks; /* of struct mark, held_end being in `bytes`: one for each message, at last one for all */
	unsigned count;
};

/* A message as the tail has it. */
void page_add(struct page *p, uint64_t seq, const struct tail_text *message);

/* One as the database has it, where it is for this reader. */
void page_add_stored(struct page *p, const struct stored_message *stored);

/* It is its kind's, unless it is empty; the subscription then has everything up to `seq`. The page is freed. */
void page_send(struct page *p, uint64_t seq);
