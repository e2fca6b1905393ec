/*
 * visitor - a socket that was accepted and has not said yet what it wants, or has been sent away.
 *
 *	READING		the head of its request comes
 *	LINGERING	it was answered; what it still sends is thrown away, until it has read the answer
 *
 * Layer    ws.
 */
#pragma once

#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "ws/node.h"

enum visitor_state { VISITOR_READING, VISITOR_LINGERING };

struct visitor {
	TAILQ_ENTRY(visitor) link; /* in its door's list */
	uv_poll_t poll;
	struct node *node;		 /* borrowed */
	void (*left)(struct visitor *v); /* takes it out of that list */
	struct buf in;			 /* what it has sent */
	int fd;
	enum visitor_state state;
	int64_t due_ms; /* when it is sent away */
};

TAILQ_HEAD(visitor_list, visitor);

/*
 * Watches the socket: `event` is called when there is something to read.
 *
 *	fd	taken; closed on failure
 */
enum err visitor_new(struct visitor **v, struct node *n, int fd, uv_poll_cb event,
		     void (*left)(struct visitor *v)) MUST_CHECK;

/* The visitor is no more; its socket is the caller's. */
int visitor_dismiss(struct visitor *v);

/*
 * Its last bytes, and the end: what the client still sends is read and thrown away, or its kernel would throw the
 * answer away. Takes over what is in `reply`.
 */
void visitor_send_last(struct visitor *v, struct buf *reply);

/*
 * A refusal, as a problem.
 *
 *	headers	more of them, each with its CRLF, or ""
 *	detail	static
 */
void visitor_refuse(struct visitor *v, int status, const char *headers, const char *detail);
