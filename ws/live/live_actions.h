/*
 * live_actions - what a live client says that the database does (tidings.act()), and how much of that may wait.
 *
 * Of one user, whose connections may be several, one act after the other is given to the database.
 *
 * Layer    ws.
 */
#pragma once

#include "domain/input/client_message.h"
#include "ws/session/session.h"

/* It is answered when the database has; or refused. */
void live_act(struct session *s, const struct client_message *m);
