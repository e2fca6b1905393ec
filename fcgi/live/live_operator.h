/*
 * live_operator - the routes behind the page /admin: connections, topics, the outbox, and orders about them, for administrators
 * alone.
 *
 * Layer    fcgi.
 */
#pragma once

#include "fcgi/live/live_visit.h"

void live_operator_connections(struct live_visit *v);
void live_operator_topics(struct live_visit *v);
void live_operator_outbox(struct live_visit *v);
void live_operator_retry(struct live_visit *v); /* what was given up is relayed now */
void live_operator_drop(struct live_visit *v);	/* what was given up is forgotten */
void live_operator_revoke(struct live_visit *v);
void live_operator_drain(struct live_visit *v);
