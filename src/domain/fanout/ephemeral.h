/*
 * ephemeral - messages that are in no queue, kept for a topic's subscribers until everybody who is due has had them.
 *
 * Layer    domain.
 * Memory   EPHEMERALS_MAX_BYTES of a topic: the oldest are dropped first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/defs.h"
#include "base/err.h"
#include "domain/text/uuid.h"
#include "domain/topic/message.h"

#define EPHEMERALS_MAX_BYTES (1 << 20) /* of a topic */

struct ephemeral {
	STAILQ_ENTRY(ephemeral) next;
	uint64_t number; /* within its topic */
	struct uuid exclude;
	bool has_exclude;
	char *to_user; /* in `bytes`, behind the frame; NULL: everyone */
	size_t len;
	char bytes[];
};

STAILQ_HEAD(ephemeral_list, ephemeral);

struct ephemerals {
	struct ephemeral_list list; /* owned; the oldest first */
	uint64_t last;		    /* the number of the last that was added */
	size_t bytes;
};

void ephemerals_init(struct ephemerals *all);

/*
 *	to_user, exclude	copied; NULL: for everyone, nobody is left out
 *
 * ERR_MEMORY  it is not added
 */
enum err ephemerals_add(struct ephemerals *all, struct span frame, const char *to_user,
			const struct uuid *exclude) MUST_CHECK;

/* May the reader have it, and wants it? */
bool ephemeral_is_for(const struct ephemeral *e, const struct reader *r);

/* Drops all of them; their numbers go on. */
void ephemerals_clear(struct ephemerals *all);
