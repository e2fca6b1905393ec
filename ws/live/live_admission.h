/*
 * live_admission - asks the database whether a user may have one more live connection: whether there is such a user, and how many
 * they have on all nodes.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/session.h"

/* The session has its user. STEP_ADMITTED of the subscription that stands for it, or it is closed. */
void live_admit(struct session *s);
