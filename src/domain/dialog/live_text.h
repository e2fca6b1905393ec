/*
 * live_text - what the server says on a live-health connection (spec section 6):
 * `{"type","data","timestamp","correlation_id"}`.
 *
 * Layer    domain: the time comes in, bytes out.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "domain/http/problem.h"
#include "domain/text/uuid.h"
#include "domain/topic/resume_point.h"

/* correlation: of what is answered, as JSON text; NULL: none. All append one message. */

void live_text_established(struct buf *out, const struct uuid *connection_id, int64_t heartbeat_s, int64_t wall_us);

/*
 *	expires_s	seconds since 1970; 0: never
 *	subscription	what it is subscribed to already; NULL: nothing
 */
void live_text_authenticated(struct buf *out, const char *user_id, const char *role, int64_t expires_s,
			     const char *subscription, const char *correlation, int64_t wall_us);

/*
 * `subscribed`: to what, in the client's word for it, and from where on.
 */
void live_text_subscribed(struct buf *out, const char *name, const struct resume_point *point, const char *correlation,
			  int64_t wall_us);

/*
 *	reason		static; NULL: because the client wanted so
 */
void live_text_unsubscribed(struct buf *out, const char *name, const char *topic, const char *reason,
			    const char *correlation, int64_t wall_us);

void live_text_pong(struct buf *out, const char *correlation, int64_t wall_us);
void live_text_heartbeat(struct buf *out, int64_t wall_us);
void live_text_token_refreshed(struct buf *out, int64_t expires_s, const char *correlation, int64_t wall_us);
void live_text_token_expiring(struct buf *out, int64_t expires_in_s, int64_t wall_us);

/* An error: what was sent is not stored, since the user may have no more stored today. */
void live_text_over_quota(struct buf *out, const char *correlation, int64_t wall_us);

/*
 *	code	static: authentication_failed, forbidden, unknown_subscription, rate_limited, …
 *	message	a plain sentence
 *	wrong	its errors go into `data`, as into the reply to an HTTP request; NULL: there are none
 */
void live_text_error(struct buf *out, const char *code, const char *message, const struct problem *wrong,
		     const char *correlation, int64_t wall_us);
