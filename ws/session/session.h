/*
 * session - one client's connection, from its request to its close: who it is, what it subscribes to, and how it ends.
 *
 *	NEW		begins
 *	STRANGER	a WebSocket whose client is to say who it is: its request did not
 *	OPEN		its subscriptions (subscription.h) are on their way, each by itself; once all are counted `connect` goes out
 *	CLOSING		it will be sent a close frame, or the end of its reply, as soon as it takes one
 *
 * What is written to it is session_output.h's matter, by its outlet; what sets it apart from others its kind's (kind.h). Its one
 * deadline (session_deadline.c) is that of all that may come: a heartbeat, silence, a token's end, a client that takes nothing.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/log/log.h"
#include "base/net/address.h"
#include "domain/dialog/dialog.h"
#include "domain/websocket/close_code.h"
#include "ws/node.h"
#include "ws/session/kind.h"
#include "ws/session/outlet.h"
#include "ws/session/subscription.h"
#include "ws/session/transport.h"

enum session_state { SESSION_NEW, SESSION_STRANGER, SESSION_OPEN, SESSION_CLOSING };

/* Its subscriptions (subscription.h), in the order in which its client has been told of them; those that are being asked for come last. */
struct session_subscriptions {
	struct subscription **items; /* owned, each a reference */
	unsigned count;
	unsigned turn; /* of the one that is served first */
	bool asking;   /* one of them asks for a page of what it missed */
};

/* What has come from its client, and cannot be heard yet. */
struct session_input {
	TAILQ_ENTRY(session) link; /* in node.unfinished.begun while begun_ms is not 0 */
	struct buf bytes;	   /* a message that has not come whole */
	size_t charged;		   /* of that, in node.unfinished.bytes */
	int64_t begun_ms;	   /* monotonic: since when it is not whole; 0: there is nothing in it */
	struct buf early;	   /* what a WebSocket's client said too early (early.h); a poller's next request */
	bool inflates;		   /* takes, and sends, compressed messages */
	bool packed;		   /* the one in `bytes` is compressed */
};

/*
 * A ping that carries the client's place: a number for which each subscription has its `asked_seq`. Its pong confirms all that was sent
 * before it. While that is awaited, heartbeats carry the same number: a client may answer the last of several pings alone.
 */
struct place_ping {
	uint64_t number; /* of the last one */
	int64_t sent_ms; /* monotonic: when it was sent first */
	int64_t due_ms;	 /* monotonic: of one that follows messages; 0: none does */
	bool awaited;	 /* its pong */
};

/* What its deadline hangs on. Monotonic, but for one. */
struct session_times {
	struct wheel_entry wheel; /* the deadline: in node.sessions.wheel */
	int64_t opened_ms;
	int64_t heard_ms;  /* last frame from the client */
	int64_t pinged_ms; /* last heartbeat */
	struct place_ping place;
	int64_t taken_ms; /* its client took what had waited */
	int64_t asked_ms; /* since when it waits for a page of what it missed; 0: it does not */
	/*
	 * The latest moment of a close with 1012, for a user whose rights change: until then the announced ends of subscriptions
	 * are waited for. 0: no such close is due.
	 */
	int64_t leave_by_ms;
	int64_t expires_s; /* wall: its token; 0: never */
};

/* How it ends. */
struct session_end {
	uint16_t code;		   /* of the close; 0: none yet */
	uint16_t status;	   /* of HTTP, where the close comes before a reply has begun */
	const char *reason;	   /* static */
	const char *detail;	   /* static: the same as a sentence, where there is room for one; NULL: the reason */
	const char *error_code;	   /* static: a live client is told before the close; NULL: it is not */
	const char *refused_topic; /* lent by a subscription; NULL: that is not why */
	bool keep_alive;	   /* HTTP: another request may follow */
	bool forgets_place;	   /* its client, who may come again, does not go on where this one was */
};

/* What its request and its token said of it, for answers and the log. */
struct session_client {
	struct address address; /* behind proxies that are trusted */
	char *allowed_origin;	/* owned; NULL: none to name */
	char *request_id;	/* owned; that its request brought; NULL: none */
	const char *user_id;	/* lent by the session's user; NULL: anonymous, or not known yet */
};

struct session {
	struct outlet outlet; /* first: each delivery looks at it (session_deliver_soon()), and at the next two */
	const struct session_kind *kind; /* static */
	enum session_state state;
	enum role role;
	struct node *node;	      /* borrowed */
	struct user *user;	      /* borrowed; NULL: anonymous, or not known yet */
	TAILQ_ENTRY(session) link;    /* in node.sessions.all */
	TAILQ_ENTRY(session) of_user; /* in user.sessions while it has one */
	TAILQ_ENTRY(session) strange; /* in node.sessions.strangers while STRANGER */
	UT_hash_handle by_id;
	struct uuid id;
	struct session_subscriptions subscriptions;
	struct dialog dialog;
	struct session_input in;
	struct session_times times;
	struct session_end end;
	struct holding holding; /* in node.budget: all that waits here */
	struct session_client client;
	bool greeted;	  /* `connect`, or what stands for it, has been said */
	bool redelivered; /* once: critical notifications that are not acked */
};

/* As tidings.connection has it: websocket, sse, long_poll. Static. */
const char *session_transport(const struct session *s);

/* A new one; NULL: no memory. It has a deadline, and nothing else happens by itself. `socket` is set by who has it. */
struct session *session_new(struct node *n, const struct transport *transport, const struct session_kind *kind);

/* The socket is gone: lets go of all that it held, and frees it. */
void session_end(struct session *s);

/* It has this connection id from now on. False: no memory; nobody finds it by an id any more. */
bool session_rename(struct session *s, const struct uuid *id) MUST_CHECK;

/* Gives it a subscription for each topic. False: no memory. */
bool session_subscribe(struct session *s, const struct selection *selection);

/*
 * One more, of an open session. NULL: no memory.
 *
 *	user_id	of the session's user; borrowed, as long as the session
 */
struct subscription *session_add(struct session *s, const struct selected *wanted, const char *user_id);

/* One less. The presence must not know it any more. */
void session_drop(struct session *s, struct subscription *sub);

/* The one of this topic; NULL: there is none. */
struct subscription *session_find(const struct session *s, const char *topic);

/* The last of them from now on. */
void session_put_last(struct session *s, struct subscription *sub);

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

/* What waits here: to be written, or to be heard. */
size_t session_held_bytes(const struct session *s);

/* A line in the log about this session, which says which one it is. */
void session_log(const struct session *s, enum log_level level, const char *format, ...) PRINTF(3, 4);

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
 * The session is closed once the announced ends of its subscriptions have come (revocation.c), by its deadline at the latest.
 * Subscriptions without an announced end get nothing more; the caller takes them out of the hub.
 */
void session_leave(struct session *s);

/* It gets nothing more but its end, once its socket takes that. */
void session_begin_closing(struct session *s);

/* As session_close(), for one that goes on sending bad messages. */
void session_close_bad(struct session *s);

/* As session_close(), for one that reads too slowly. */
void session_close_slow(struct session *s);

/* ---- what its client confirms (session_ping.c) */

/* A subscription has been given messages: a ping follows where it is to be confirmed, by one with a name or, now and then, by one without. */
void session_given(struct subscription *sub);

/* The place of the next ping is the client's now, unless the pong of one before is awaited. */
void session_take_place(struct session *s, int64_t now_ms);

/* Appends a ping that carries it. */
void session_add_ping(struct buf *out, const struct session *s);

/* When a ping follows messages; INT64_MAX: none does. */
int64_t session_ping_due_ms(const struct session *s);

/* A pong came. */
void session_ponged(struct session *s, struct span payload);

/* Its client begins to close in good order: it has all that has left for it, and come there. */
void session_confirm_taken(struct session *s);

/* ---- deadlines */

/* A frame came from the client. */
void session_heard(struct session *s);

/* Nothing of a message waits any more. */
void session_drop_unfinished(struct session *s);

/* ---- deadlines (session_deadline.c) */

/* The monotonic time of this moment of the wall clock, as it goes now. */
int64_t session_at_wall_s(int64_t wall_s, int64_t now_ms);

/* After something changed that a deadline hangs on. */
void session_set_deadline(struct session *s, int64_t now_ms);

/* Its deadline has come: pings, closes, or finds that it is not due yet. */
void session_due(struct session *s, int64_t now_ms);
