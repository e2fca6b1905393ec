/*
 * live_roster - GET /ws/presence: who is on a topic (spec section 7).
 *
 * Layer    fcgi.
 */
#pragma once

#include "fcgi/live/live_visit.h"

void live_roster_page(struct live_visit *v);
