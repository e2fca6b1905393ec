/*
 * metrics_page - GET /metrics on the sidecar's own port and path: what node_metrics counts, to whom TIDINGS_METRICS says.
 *
 * Nothing is asked of the database: it answers at once, whatever hangs.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>

#include "domain/http/request_head.h"
#include "ws/loop/requester.h"

/* True: this is a request for it, and is answered; the requester is no more, or lingers. */
bool metrics_page_serve(struct requester *r, const struct request_head *head);
