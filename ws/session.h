/*
 * session - one client's connection, from its request to its close: a WebSocket, an event stream or a poll.
 *
 *	NEW	connected; says who it is with `authenticate`, unless the request did
 *	OPEN	its subscriptions (subscription.h) are on their way, each by itself; once all are counted `connect` goes
 *		out
 *	CLOSING	it will be sent a close frame, or the end of its reply, as soon as it takes one
 *
 * What can be written at once is written at once. What cannot waits in `out`, and meanwhile the hub leaves the session
 * alone. `out` holds a page of what was missed, or replies: never live messages; those wait in the tail.
 *
 * All that waits here is in node.budget. Where too much is held for all clients together, a session that holds much of it,
 * and whose client takes nothing, is closed, and what that has not begun to take is freed.
 *
 * A message counts as delivered once its bytes have left for the client: until then it has a mark here.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/hash.h"
#include "domain/close_code.h"
#include "domain/dialog.h"
#include "ws/node.h"
#include "ws/subscription.h"
#include "ws/transport.h"
#include "ws/voice.h"

enum session_state { SESSION_NEW, SESSION_OPEN, SESSION_CLOSING };

/* Of live health (ws/live.h). */
struct endpoint {
	const char *name;	  /* health: /ws/health */
	const char *subscription; /* its own stream; NULL: none */
};

/* Messages that are delivered once all that the session was given so far has left. */
struct mark {
	int64_t topic_id;
	uint64_t seq;	    /* up to this one */
	bool private;	    /* that one is for the session's user alone */
	int64_t expires_ms; /* of a message that a poll holds: monotonic; 0: never */
	size_t held_end; /* where that message ends in `held`, a comma before it unless it is the first; 0: not there */
};

struct session {
	/* What each delivery looks at comes first: session_expect(). */
	const struct transport *transport; /* static */
	const struct voice *voice;	   /* static */
	void *socket;			   /* borrowed: the transport's */
	int64_t choked_ms;		   /* monotonic: since when the socket is full, and less than TAKING_BYTES
					      have left it; 0: it takes bytes */
	enum session_state state;
	enum role role;
	TAILQ_ENTRY(session) link;    /* in node.sessions */
	TAILQ_ENTRY(session) of_user; /* in user.sessions while it has one */
	TAILQ_ENTRY(session) strange; /* in node.strangers while `is_stranger` */
	TAILQ_ENTRY(session) begun;   /* in node.unfinished while unfinished_ms is not 0 */
	UT_hash_handle by_id;
	struct wheel_entry wheel;
	struct node *node;		 /* borrowed */
	struct user *user;		 /* borrowed; NULL: anonymous, or not known yet */
	const struct endpoint *endpoint; /* static: of live health; NULL: its request named topics */
	struct subscription *self; /* owned, a reference; stands for the connection itself; NULL: not a live one */
	struct subscription **subscriptions; /* owned, each a reference; in the order of the request */
	unsigned subscriptions_count;
	unsigned turn; /* of the subscription that is served first */
	struct uuid id;
	struct dialog dialog;
	struct buf out; /* waits for the socket, from out_at on */
	size_t out_at;
	size_t out_whole;	/* a place in `out` where none of its messages is cut in two */
	int64_t given_bytes;	/* that the socket has taken in all */
	int64_t left_bytes;	/* so many of them had left it at choked_ms */
	struct holding holding; /* in node.budget: all that waits here */
	struct buf in;		/* a message that has not come whole */
	struct buf held; /* frames that answer what was asked before `connect` went out; a poll's messages, until all of
			    its topics have been looked at */
	struct buf marks; /* of struct mark; a poll's, which wait for its reply, one for each message in `held` */
	struct buf
		early; /* what its client sent too early: what a live one said before it was authenticated, a poller's next
			      request */
	size_t unfinished_bytes; /* of `in`, charged to node.unfinished_bytes */
	int64_t opened_ms;	 /* monotonic, as all that follow */
	int64_t unfinished_ms;	 /* since when `in` is not whole; 0: there is nothing in it */
	int64_t heard_ms;	 /* last frame from the client */
	int64_t pinged_ms;
	int64_t taken_ms;    /* its client took what had waited */
	int64_t asked_ms;    /* since when it waits for a page of what it missed; 0: it does not */
	int64_t leave_by_ms; /* its user has to come again once some of its subscriptions have ended, then at the
				latest; 0: they need not */
	int64_t expires_s;   /* wall: its token; 0: never */
	uint16_t close_code;
	uint16_t status;	   /* of HTTP, where the close comes before a reply has begun */
	const char *close_reason;  /* static */
	const char *close_detail;  /* static: the same as a sentence, where there is room for one; NULL: the reason */
	const char *error_code;	   /* static: a live client is told before the close; NULL: it is not */
	const char *refused_topic; /* lent by a subscription; NULL: that is not why */
	bool is_stranger;	   /* NEW, and to say who it is */
	bool broken;		   /* its socket takes nothing any more */
	bool close_sent;
	bool greeted;	      /* `connect`, or what stands for it, has been said */
	bool inflates;	      /* takes compressed messages */
	bool packed;	      /* what is in `in` is compressed */
	bool keep_alive;      /* HTTP: another request may follow */
	bool asking;	      /* one of its subscriptions asks for a page of what it missed */
	bool authenticated;   /* a live one: that has been said */
	bool redelivered;     /* once: critical notifications that are not acked */
	bool told_expiring;   /* a live one: that its token will expire soon */
	bool kept;	      /* a poll: its client is expected back, and stays connected so long */
	bool waiting;	      /* a poll: it has all there is, and is held until something comes */
	bool leaves_no_place; /* a poll: the next one begins anew */
	int64_t timeout_ms;   /* a poll: when it is answered at the latest; 0: none */
	char *allowed_origin; /* owned; NULL: none to name */
};

/* A new one; NULL: no memory. It has a deadline, and nothing else happens by itself. `socket` is set by who has it. */
struct session *session_new(struct node *n, const struct transport *transport, const struct voice *voice);

/* The socket is gone: lets go of all that it held, and frees it. */
void session_end(struct session *s);

/* It has this connection id from now on. False: no memory; nobody finds it by an id any more. */
bool session_rename(struct session *s, const struct uuid *id) MUST_CHECK;

/* It is this user's, in whom it is counted already. */
void session_belong(struct session *s, struct user *user);

/* Gives it a subscription for each topic. False: no memory. */
bool session_subscribe(struct session *s, const struct selection *selection);

/* One more, of an open session. NULL: no memory. */
struct subscription *session_add(struct session *s, const struct selected *wanted);

/* One less. The ledger must not know it any more. */
void session_drop(struct session *s, struct subscription *sub);

/* Is the subscription in this state, and to go on: its session stays open, or awaits this one's end? */
bool session_awaits(const struct subscription *sub, enum subscription_state state);

/* Are all of its subscriptions in this state? */
bool session_all_are(const struct session *s, enum subscription_state state);

/* The subscription whose turn it is `i` after the first; the turn goes to the one behind it. */
struct subscription *session_turn(const struct session *s, unsigned i);
void session_pass_turn(struct session *s, const struct subscription *sub);

/* ---- who it is */

/* Its client is to say who it is. */
void session_await(struct session *s);

/* It is let in: OPEN. */
void session_open(struct session *s);

/* ---- writing */

/* It will be written to soon: its memory may come on the way meanwhile. */
void session_expect(const struct session *s);

/*
 * What is held for it has changed: node.budget is told. Where that is too much, the largest holding is given up, this one
 * perhaps: the session is closed then, and what its client has not begun to take is freed.
 */
void session_charge(struct session *s);

/*
 * Room in node.budget for bytes that can wait, by giving up the largest holdings of clients that do not take theirs.
 * False: there are none any more, and no room.
 */
bool session_make_room(struct node *n, size_t bytes) MUST_CHECK;

/* Nothing waits to be written to it, and it takes bytes. */
bool session_is_clear(const struct session *s);

/*
 * Raw bytes, now; only while it is clear.
 *
 *	mark	what they deliver: the hub's matter where they have left, else the session's
 */
enum hub_written session_write_now(struct session *s, struct span bytes, const struct mark *mark);

/* Bytes that must not get lost: now, or as soon as possible. The session takes over what is in `bytes`. */
void session_write(struct session *s, struct buf *bytes);

/* What the session is given next, or what it holds, delivers this. Without memory it does not: it may be sent again. */
void session_add_mark(struct session *s, const struct mark *mark);

/* One text message, told by the session's voice, likewise. */
void session_send(struct session *s, const struct buf *text);

/* One text message that may not go out yet; session_send_held() sends all of them. */
void session_hold(struct session *s, const struct buf *text);
void session_send_held(struct session *s);

/* The socket takes bytes again: writes what waits. True: it is clear now. */
bool session_drained(struct session *s);

/* ---- closing */

/*
 * Close it with this code; the first code counts.
 *
 *	reason	static
 */
void session_close(struct session *s, enum close_code code, const char *reason);

/* As session_close(); `status` is what HTTP says where nothing has been said yet. */
void session_refuse(struct session *s, int status, enum close_code code, const char *reason);

/*
 * These bytes, and then the end, when the loop comes to it: whoever has them may ask again at once, and must not find
 * this session. The session takes over what is in `bytes`.
 */
void session_finish(struct session *s, struct buf *bytes);

/* The same from the fan-out, which ends replies right behind its slice: now, with a mark as in session_write_now(). */
enum hub_written session_finish_now(struct session *s, struct span bytes, const struct mark *mark);

/*
 * It will be closed soon, by whoever ends its subscriptions or by its deadline. Those whose end is not announced go on
 * no more; the caller takes them out of the hub.
 */
void session_leave(struct session *s);

/* The close frame, or the end of its reply, has left, and all before it. */
bool session_is_over(const struct session *s);

/* ---- deadlines */

/* A frame came from the client. */
void session_heard(struct session *s);

/* What is in `in` is not a whole message: it is counted, and has its time. */
void session_keep_unfinished(struct session *s);

/* Nothing of a message waits any more. */
void session_drop_unfinished(struct session *s);

/* ---- deadlines (session_deadline.c) */

/*
 * Does the client of a choked session take bytes? It is choked anew then. (One that reads slowly frees its socket's buffer
 * only now and then.)
 */
void session_look(struct session *s, int64_t now_ms);

/* After something changed that a deadline hangs on. */
void session_set_deadline(struct session *s, int64_t now_ms);

/* Its deadline has come: pings, closes, or finds that it is not due yet. */
void session_due(struct session *s, int64_t now_ms);
