/*
 * audit - who did what, and whether they were let: one structured line each, whatever TIDINGS_LOG_LEVEL is (spec section 6), to where
 * the log goes or to a place of its own (audit_sink.h). What the thread's lines are about (log.h) is in it too.
 *
 *	audit event=publish user=456 role=user topic=health/456 outcome=ok
 *
 * Where nobody takes the log's lines, those of the audit trail are kept longest; what is lost all the same is counted there
 * (base/log/log.h).
 *
 * Layer    base.
 * Threads  any.
 */
#pragma once

#include <stdint.h>

/* What is known; NULL, or seq 0: nothing of that. Texts of strangers are quoted. No token and no message body goes in.
 */
struct audit {
	const char *user_id;
	const char *role;
	const char *connection_id;
	const char *transport;
	const char *key, *value; /* what it was about: "topic", "health/456" */
	const char *type;	 /* of a message */
	const char *topic;
	int64_t seq;
	const char *path;    /* of an HTTP request */
	const char *outcome; /* "ok", or why not */
	const char *why;     /* the same in words */
};

/* event: static */
void audit_write(const char *event, const struct audit *a);
