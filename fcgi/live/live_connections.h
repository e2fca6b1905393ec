/*
 * live_connections - the routes by which connections are asked after and managed (spec section 3.4).
 *
 * Layer    fcgi.
 */
#pragma once

#include "fcgi/live/live_visit.h"

void live_connection_health(struct live_visit *v);
void live_connection_disconnect(struct live_visit *v);
void live_connection_reconnect(struct live_visit *v); /* of all connections of a user */
