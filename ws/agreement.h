/*
 * agreement - whether the connection of fetches (node.db.fetches) and that of heartbeats (node.db.queries) see the same epochs.
 *
 * Where they do not for long, one of them is to a server that is the primary no more.
 *
 *	AGREED --agreement_differs()--> DIFFERING --a heartbeat leaves the topics as they are--> CONTRADICTED
 *	CONTRADICTED --agreement_differs()--> PARTED --both connections are made anew--> AGREED
 *
 * heartbeat.c sends that heartbeat, and makes the connections anew. A fetch that finds the epochs it asks for brings AGREED back.
 *
 * Layer    ws.
 */
#pragma once

enum agreement { AGREED, DIFFERING, CONTRADICTED, PARTED };

/* The connection of fetches has other epochs than the topics here. */
static inline void agreement_differs(enum agreement *a)
{
	if (*a == AGREED)
		*a = DIFFERING;
	else if (*a == CONTRADICTED)
		*a = PARTED;
}

/* A heartbeat that was sent while DIFFERING has been answered: what is still here is right. */
static inline void agreement_contradicted(enum agreement *a)
{
	if (*a == DIFFERING)
		*a = CONTRADICTED;
}
