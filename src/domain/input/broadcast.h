/*
 * broadcast - what services POST, made into messages (spec sections 3.1 and 3.2).
 *
 *	body of a request -> broadcast_read() -> publications -> (the database) -> results -> broadcast_write_reply()
 *
 * Layer    domain: `now` comes in.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/http/problem.h"
#include "domain/topic/publication.h"

#define BATCH_ITEMS_MAX 500
#define EPHEMERAL_MAX_BYTES 7500 /* of the message: it travels in a notification, which PostgreSQL limits to 8,000 */

enum broadcast_kind {
	BROADCAST_RECOMMENDATION,
	BROADCAST_EFFECTIVENESS,
	BROADCAST_FEEDBACK,
	BROADCAST_PUBLISH, /* any topic; one or a list */
};

/*
 *	now_us	microseconds since 1970
 *	p	out: publications_free() it
 *	problem	out: when ERR_INPUT, what to reply: 400 for no JSON, 422 with every field that is wrong
 */
enum err broadcast_read(enum broadcast_kind kind, struct span body, int64_t now_us, struct publications *p,
			struct problem *problem) MUST_CHECK;

/*
 * Appends the body of the reply to a request that was published.
 *
 *	results	one per publication
 */
void broadcast_write_reply(struct buf *out, enum broadcast_kind kind, const struct publications *p,
			   const struct publish_result *results);
