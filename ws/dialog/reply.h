/*
 * reply - what the client of a WebSocket is answered, on a live connection or to what it wants of others.
 *
 * Layer    ws.
 */
#pragma once

#include "base/buf.h"
#include "domain/input/client_message.h"
#include "ws/session/session.h"

/* What cannot be done while the database is away. */
#define REPLY_AWAY "The database is away: try again later."

/* A whole message; freed. */
void reply_say(struct session *s, struct buf *text);

/*
 * An `error` message.
 *
 *	correlation	JSON text of what it answers; NULL or "": it had none
 */
void reply_error(struct session *s, const char *code, const char *message, const char *correlation);

/* The same, for what a client has said wrong: one that goes on with it is sent away. */
void reply_refuse(struct session *s, const char *code, const char *message, const char *correlation);
/* The same: a sentence that begins with the name of the member that is wrong. */
void reply_refuse_member(struct session *s, const char *sentence, const char *correlation);
void reply_refuse_fault(struct session *s, const struct client_fault *fault, const char *correlation);
