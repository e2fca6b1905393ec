/*
 * session - one client's connection, from its request to its close: a WebSocket, an event stream or a poll.
 *
 *	NEW		connected; says who it is with `authenticate`, unless the request did
 *	ATTACHING	gate asks whether it may, and where its topic is
 *	COUNTING	ledger writes down that it is here: so whoever publishes from now on counts it
 *	CATCHING	it has got `connect`, and gets what it missed
 *	LIVE		the hub writes to it
 *	CLOSING		it will be sent a close frame as soon as it takes one
 *
 * What can be written at once is written at once. What cannot waits in `out`, and meanwhile the hub leaves the session
 *alone. `out` holds a page of what was missed, or replies: never live messages; those wait in the tail.
 *
 * A session outlives its socket while somebody (gate, ledger, catch_up) still waits for an answer about it: they hold a
 *reference.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "domain/close_code.h"
#include "domain/cursor.h"
#include "domain/dialog.h"
#include "ws/node.h"
#include "ws/transport.h"
#include "ws/voice.h"

enum session_state {
	SESSION_NEW,
	SESSION_ATTACHING,
	SESSION_COUNTING,
	SESSION_CATCHING,
	SESSION_LIVE,
	SESSION_CLOSING
};

struct session {
	struct subscriber subscriber; /* its topic is held from ATTACHING's end on */
	TAILQ_ENTRY(session) link;    /* in node.sessions while there is a socket */
	STAILQ_ENTRY(session) queue;  /* in gate's or catch_up's queue */
	struct wheel_entry wheel;
	struct node *node;		   /* borrowed */
	const struct transport *transport; /* static */
	const struct voice *voice;	   /* static */
	void *socket;			   /* borrowed: the transport's; NULL once it is gone */
	struct user *user;		   /* borrowed; NULL: anonymous, or not known yet */
	struct cursor *wanted;		   /* owned; the cursor it came with, until it is attached; NULL: none */
	struct dialog dialog;
	struct buf out; /* waits for the socket, from out_at on */
	size_t out_at;
	struct buf in;	 /* a message that has not come whole */
	struct buf held; /* frames that answer what was asked before `connect` went out */
	unsigned refs;
	enum session_state state;
	enum role role;
	int64_t connected_us; /* wall */
	int64_t opened_ms;    /* monotonic, as all that follow */
	int64_t heard_ms;     /* last frame from the client */
	int64_t pinged_ms;
	int64_t choked_ms; /* since when the socket takes nothing; 0: it does */
	int64_t expires_s; /* wall: its token; 0: never */
	uint16_t close_code;
	uint16_t status;	  /* of HTTP, where the close comes before a reply has begun */
	const char *close_reason; /* static */
	bool broken;		  /* its socket takes nothing any more */
	bool close_sent;
	bool greeted;	 /* `connect`, or what stands for it, has been said */
	bool keep_alive; /* HTTP: another request may follow */
	bool resumes;	 /* it came with a cursor */
	bool recovered;
	bool welcomed; /* it has what it missed: from now on messages come one by one */
	bool asking;   /* for a page of what it missed: in catch_up's queue, or under way */
	bool cursor_damaged;
	int64_t charged_bytes; /* to node.pending_bytes: what waits in `out`, and what its transport took but could not
				  send */
	size_t choked_bytes;   /* the last write, which the transport has not sent whole; 0: it has */
	bool unsent;	       /* messages for this user alone wait in the queue before its seq */
	uint64_t unsent_up_to;
	uint64_t missed_from, missed_to;
	bool written_down;    /* the ledger knows it */
	int64_t timeout_ms;   /* a poll: when it is answered at the latest; 0: none */
	char *allowed_origin; /* owned; NULL: none to name */
};

/* A new one; NULL: no memory. It has a deadline, and nothing else happens by itself. `socket` is set by who has it. */
struct session *session_new(struct node *n, const struct transport *transport, const struct voice *voice);

/* The socket is gone: lets go of all that it held. */
void session_end(struct session *s);

struct session *session_ref(struct session *s);
void session_unref(struct session *s);

/* Sessions that wait for something, each with a reference. */
STAILQ_HEAD(session_queue, session);

/* Nobody waits any more. */
void session_queue_clear(struct session_queue *q);

/* ---- writing */

/* Nothing waits to be written to it, and it takes bytes. */
bool session_is_clear(const struct session *s);

/* Raw bytes, now. False: no more can be taken for the time being. Only while it is clear. */
bool session_write_now(struct session *s, struct span bytes);

/* Bytes that must not get lost: now, or as soon as possible. The session takes over what is in `bytes`. */
void session_write(struct session *s, struct buf *bytes);

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

/* These bytes, and then the end. The session takes over what is in `bytes`. */
void session_finish(struct session *s, struct buf *bytes);

/* It has been sent the close frame, or the end of its reply. */
bool session_close_sent(const struct session *s);

/* ---- deadlines */

/* A frame came from the client. */
void session_heard(struct session *s);

/* After something changed that a deadline hangs on. */
void session_set_deadline(struct session *s, int64_t now_ms);

/* Its deadline has come: pings, closes, or finds that it is not due yet. */
void session_due(struct session *s, int64_t now_ms);
