/*
 * live_reply - what a live connection is told.
 *
 * Layer    ws.
 */
#pragma once

#include "base/buf.h"
#include "domain/input/client_message.h"
#include "ws/session/session.h"

/* What cannot be done while the database is away. */
#define LIVE_AWAY "The database is away: try again later."

/* A whole message; freed. */
void live_say(struct session *s, struct buf *text);

/*
 * An `error` message.
 *
 *	correlation	JSON text of what it answers; NULL or "": it had none
 */
void live_say_error(struct session *s, const char *code, const char *message, const char *correlation);

/* The same, for what a client has said wrong: one that goes on with it is sent away. */
void live_refuse(struct session *s, const char *code, const char *message, const char *correlation);
/* The same: a sentence that begins with the name of the member that is wrong. */
void live_refuse_member(struct session *s, const char *sentence, const char *correlation);
void live_refuse_fault(struct session *s, const struct client_fault *fault, const char *correlation);
