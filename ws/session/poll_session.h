/*
 * poll_session - the session of a poll (subscribe/poll.h).
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ws/session/session.h"

struct poll_session {
	struct session session; /* first */
	int64_t timeout_ms;	/* monotonic: when it is answered at the latest */
	bool waiting;		/* it has all there is, and is held until something comes */
};

static inline struct poll_session *poll_session_of(struct session *s)
{
	return (struct poll_session *)s;
}
