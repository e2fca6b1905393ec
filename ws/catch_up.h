/*
 * catch_up - gives sessions what their topic's tail can't: what they missed, and what moved on while they were slow.
 *
 * A page at a time a session, a few sessions at a time, and none while too many bytes already wait for slow sockets: so
 * ten thousand who come back at once cost time, not memory.
 *
 * Layer    ws.
 */
#pragma once

#include "ws/node.h"
#include "ws/session.h"

/*
 *	send_page	gives a page, in the session's voice, to its session; takes over what is in it
 *	caught_up	the session has all that it missed. False: it is not to go LIVE
 */
enum err catch_up_new(struct catch_up **c, struct node *n, void (*send_page)(struct session *s, struct buf *page),
		      bool (*caught_up)(struct session *s)) MUST_CHECK;
void catch_up_free(struct catch_up **c);

/*
 * Brings a session in CATCHING further. Call it when the session takes bytes (session_is_clear()): either the session
 * is LIVE when it returns, or a page is on its way to it and this has to be called again when that is out.
 */
void catch_up_go_on(struct catch_up *c, struct session *s);

/* Fewer bytes wait for sockets, perhaps: whoever waited for that is served. */
void catch_up_resume(struct catch_up *c);
