/*
 * outlet - what is written to one client: as much at once as its socket takes, the rest when it takes bytes again.
 *
 *	clear	nothing waits, and the socket takes bytes
 *	choked	the socket is full, and less than TAKING_BYTES have left it since choked_ms
 *	broken	the socket takes nothing any more
 *
 * What waits is in `out`: a page of what was missed, or replies; never live messages: those wait in the tail. What its owner
 * gives it to hold for later is in `held`. A message counts as delivered once its bytes have left for the client: until then it
 * has a mark.
 *
 * Nothing is told from here: the owner looks at what a call has left behind (session_output.h).
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/defs.h"
#include "ws/session/encoder.h"
#include "ws/session/transport.h"

/* Messages that are delivered once all that the outlet was given so far has left. */
struct mark {
	int64_t topic_id;
	uint64_t seq;	      /* up to this one: subscriber_delivers() */
	uint64_t private_seq; /* of one for the session's user alone; 0: there is none */
	int64_t expires_ms;   /* of a message that a poll holds: monotonic; 0: never */
	size_t held_end; /* where that message ends in `held`, a comma before it unless it is the first; 0: not there */
};

struct outlet {
	/* What each delivery looks at comes first. */
	const struct transport *transport; /* static */
	void *socket;			   /* borrowed: the transport's */
	int64_t choked_ms;		   /* monotonic; 0: the socket takes bytes */
	struct buf out;			   /* waits for the socket, from `at` on */
	size_t at;
	size_t whole;		       /* a place in `out` where none of its messages is cut in two */
	const struct encoder *encoder; /* static */
	int64_t given_bytes;	       /* that the socket has taken in all */
	int64_t left_bytes;	       /* so many of them had left it at choked_ms */
	struct buf held; /* frames that answer what was asked before `connect` went out; a poll's messages, until all of
			    its topics have been looked at */
	struct buf marks; /* of struct mark; a poll's, which wait for its reply, one for each message in `held` */
	bool broken;
	bool ended; /* the close frame, or the end of the reply, is in `out` or has left */
};

/* That the kernel has not sent yet are not counted: they are its own. */
size_t outlet_bytes(const struct outlet *o);
void outlet_free(struct outlet *o);

static inline bool outlet_is_clear(const struct outlet *o)
{
	return o->choked_ms == 0 && o->out.len == 0;
}

/* Nothing of what it was given waits. (A poll is given nothing before its reply: what it holds is the reply's.) */
bool outlet_all_has_left(const struct outlet *o);

/* Raw bytes, now; it is clear. What the socket does not take waits; it is choked then, or broken. */
void outlet_write(struct outlet *o, struct span bytes);

/* Bytes that must not get lost are put behind what waits. Takes over what is in `bytes`. True: nothing waited before them. */
bool outlet_add(struct outlet *o, struct buf *bytes);

/*
 * As much of what waits as the socket takes.
 *
 *	fresh	`out` has just been given, and may be larger than what is in it
 */
void outlet_pump(struct outlet *o, bool fresh);

/* The socket takes nothing more: from now on it has its time. */
void outlet_choke(struct outlet *o);

/* While choked: have TAKING_BYTES left since? It is choked anew then. */
bool outlet_look(struct outlet *o, int64_t now_ms);

/* The last bytes are in `out`: nothing that was held comes any more. Without memory for them the outlet is broken. */
void outlet_end(struct outlet *o);

/* What its client has not begun to take is forgotten. */
void outlet_drop_unbegun(struct outlet *o);

/* All of it is, and the socket is of no use any more. */
void outlet_abandon(struct outlet *o);
