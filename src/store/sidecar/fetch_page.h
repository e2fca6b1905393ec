/*
 * fetch_page - messages of a topic after a seq, as the database has them: what sql_fetch asks for, and what sql_attach brings along.
 *
 * Layer    store.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "domain/topic/message.h"

struct fetch_row {
	int64_t topic_id;
	struct stored_message message; /* lent; expires_ms is on clock_monotonic_ms() */
	bool revocation;	       /* message.to_user may not have the topic any more; it has no body */
	bool other_epoch; /* no message: the topic's epoch is not the one asked for, or it is gone. Its only row */
};

/* Messages of one topic, without a hole, unless some have just been trimmed. */
struct fetch_page {
	int64_t topic_id;
	const char *epoch; /* lent */
	uint64_t after;
	const struct fetch_row *rows; /* lent; at least one */
	size_t count;
};
