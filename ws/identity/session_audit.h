/*
 * session_audit - the trail of a node's sessions: one structured line each (spec section 6), with no token and no message body.
 *
 *	audit event=subscribe connection=<uuid> transport=websocket user=456 role=user topic=health/456 outcome=ok
 *
 * Layer    ws.
 */
#pragma once

#include "ws/session/session.h"

/* outcome: "ok", "forbidden", … as act_outcome_text() has them, or a few words that say why not; all lent */
void session_audit_connect(const struct session *s);
void session_audit_authenticate(const struct session *s, const char *outcome);
void session_audit_subscribe(const struct session *s, const char *topic, const char *outcome);
void session_audit_unsubscribe(const struct session *s, const char *topic, const char *why);
void session_audit_act(const struct session *s, const char *type, const char *outcome);
void session_audit_disconnect(const struct session *s);

/* A poller that did not come back: between two polls it has no session. */
void session_audit_poller_gone(const struct subscription *sub, const struct address *client);
