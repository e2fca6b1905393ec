/*
 * session_output - writing to a session: what its outlet does, and what follows from that.
 *
 * What can be written at once is written at once. What cannot waits in the outlet, and meanwhile the hub leaves the session
 * alone.
 *
 * All that waits for a client is in node.budget. Where too much is held for all clients together, a session that holds much of
 * it, and whose client takes nothing, is closed, and what that has not begun to take is freed.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>

#include "ws/session/session.h"

/* What the hub asks of a subscriber (struct hub_ops): a write, by the session's kind; and a word that one is next. */
enum hub_written session_deliver(void *node, struct subscriber *subscriber, const struct delivery *d);
void session_deliver_soon(void *node, struct subscriber *subscriber);

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

/* One text message, told by its kind's encoder, likewise. */
void session_send(struct session *s, const struct buf *text);

/* One text message that may not go out yet; session_send_held() sends all of them. */
void session_hold(struct session *s, const struct buf *text);
void session_send_held(struct session *s);

/* The socket takes bytes again: writes what waits. True: it is clear now. */
bool session_drained(struct session *s);

/* The close frame, or the end of its reply, has left, and all before it. */
bool session_is_over(const struct session *s);

/*
 * The last bytes of a reply (taken over). The loop sends them at its next turn, not this call: a client that has them may ask again
 * at once, and must not find its old session.
 */
void session_finish(struct session *s, struct buf *bytes);

/* The same at once, with a mark as in session_write_now(): for the fan-out, whose slice ends the replies that it has written. */
enum hub_written session_finish_now(struct session *s, struct span bytes, const struct mark *mark);

/*
 * Does the client of a choked session take bytes? It is choked anew then. (One that reads slowly frees its socket's buffer
 * only now and then.)
 */
void session_look(struct session *s, int64_t now_ms);
