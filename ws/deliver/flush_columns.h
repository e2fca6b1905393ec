/*
 * flush_columns - the arrays of one sql_flush(), and the texts that they point to.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "domain/text/uuid.h"
#include "store/sidecar/sql_node.h"
#include "ws/session/subscription.h"

struct flush_columns {
	struct flush flush; /* its arrays are owned */
	char (*ids)[UUID_TEXT_SIZE];
	char (*times)[CLOCK_TEXT_SIZE];
};

/* How many of each there are at most. */
struct flush_room {
	size_t presence, opened, closed, delivered, sent, devices;
};

/* False: no memory. Freed by flush_columns_free() in any case. */
bool flush_columns_new(struct flush_columns *c, const struct flush_room *room);
void flush_columns_free(struct flush_columns *c);

/* One that is gone. `connection_id` is lent. */
void flush_columns_add_closed(struct flush_columns *c, const char *connection_id, int64_t topic_id);

/* A subscription that is new. Its user is lent. */
void flush_columns_add_opened(struct flush_columns *c, const struct subscription *sub);
