/*
 * subscribe_request - what the client of an open WebSocket subscribes to, and gives up: `subscribe` and `unsubscribe`.
 *
 * Layer    ws.
 */
#pragma once

#include "domain/input/client_message.h"
#include "ws/session/session.h"

/* As the client asked by that name. False: no memory. */
bool subscribe_request_make(struct session *s, const char *name, const struct selected *wanted,
			    const char *correlation);

/* What a message asks for, of the topic that it means: answered at once, or when it is known whether its user may. */
void subscribe_request_add(struct session *s, const struct client_message *m, const char *topic);
void subscribe_request_end(struct session *s, const struct client_message *m, const char *topic);

/* It is counted: each who asked for it is told, and it gets what it missed. */
void subscribe_request_welcome(struct subscription *sub);

/* It is not to be had: each who asked for it is told, and it is no more. */
void subscribe_request_refused(struct subscription *sub, enum err why);

/* It is no more; nobody is told. */
void subscribe_request_drop(struct subscription *sub);
