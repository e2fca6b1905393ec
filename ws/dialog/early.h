/*
 * early - what the client of a WebSocket says before it can be heard: it is kept, in order.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/session.h"

/* One text message. Where there is no room for it, the session is closed. */
void early_keep(struct session *s, struct span text);

/* Hears all that was kept, the oldest first, as long as the session is open. */
void early_hear(struct session *s, void (*hear)(struct session *s, struct span text));
