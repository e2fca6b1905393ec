/*
 * stream - the kinds whose clients stay: a WebSocket on topics, and an event stream (spec sections 4 and 5).
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/kind.h"

extern const struct session_kind kind_websocket, kind_sse;

/* A page is written at once. */
void stream_page(struct subscription *sub, struct page *page);

/* A session that named its topics may not have this one, or nobody knows: it is closed. */
void stream_refused(struct subscription *sub, enum err why);
