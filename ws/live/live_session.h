/*
 * live_session - the session of a live connection (live_connection.h).
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>

#include "ws/session/session.h"

struct endpoint {
	const char *name;	  /* health: /ws/health */
	const char *subscription; /* its own stream; NULL: none */
};

struct live_session {
	struct session session;		 /* first */
	const struct endpoint *endpoint; /* static */
	struct subscription *self; /* owned, a reference; stands for the connection itself; NULL: no memory for it */
	bool authenticated;	   /* that has been said */
	bool told_expiring;	   /* that its token will expire soon */
};

static inline struct live_session *live_session_of(struct session *s)
{
	return (struct live_session *)s;
}
