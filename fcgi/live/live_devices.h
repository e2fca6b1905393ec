/*
 * live_devices - the routes by which users see and forget their devices (spec section 7).
 *
 * Layer    fcgi.
 */
#pragma once

#include "fcgi/live/live_visit.h"

void live_devices_list(struct live_visit *v);
void live_devices_forget(struct live_visit *v);
