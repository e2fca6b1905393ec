/*
 * visitor - a socket that waits for a request, or has been sent away.
 *
 *	NEW		accepted, and has said nothing yet
 *	RESTING		a poll's reply went out on it, and the next poll may come
 *	READING		the head of its request comes, in pieces
 *	WAITING		its request came without a good token, as too many have: it has its turn later
 *	LINGERING	it was answered; what it still sends is thrown away, until it has read the answer
 *
 * A visitor is in the list of its state, and has so much time in each.
 *
 * Layer    ws.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/defs.h"
#include "base/err.h"
#include "domain/problem.h"
#include "domain/request_head.h"
#include "ws/line.h"
#include "ws/node.h"

enum visitor_state {
	VISITOR_NEW,
	VISITOR_RESTING,
	VISITOR_READING,
	VISITOR_WAITING,
	VISITOR_LINGERING,
	VISITOR_STATES
};

TAILQ_HEAD(visitor_list, visitor);

struct visitors {
	struct visitor_list lists[VISITOR_STATES]; /* who came first is first, and due first */
	size_t counts[VISITOR_STATES];
	size_t count;
	size_t bytes; /* of heads that are not whole, or have to wait; they are in node.budget too */
};

struct visitor {
	TAILQ_ENTRY(visitor) link; /* in the list of its state */
	struct visitors *all;	   /* borrowed */
	struct node *node;	   /* borrowed */
	struct line *line;	   /* owned */
	struct buf in;		   /* what it has sent, while its head is not whole, or has to wait */
	size_t charged;		   /* of that, in visitors.bytes */
	struct request_scan scan;  /* of that */
	bool head_only;		   /* its request was a HEAD: its reply has no body */
	enum visitor_state state;
	int64_t due_ms; /* when it is sent away */
};

void visitors_init(struct visitors *all);

/* One whose time is over; NULL: there is none. */
struct visitor *visitors_overdue(const struct visitors *all, int64_t now_ms);

/*
 * A visitor in this state; `event` is called when there is something to read.
 *
 *	line	taken; closed on failure
 */
enum err visitor_new(struct visitor **v, struct visitors *all, struct node *n, enum visitor_state state,
		     struct line *line, line_event event) MUST_CHECK;

void visitor_move(struct visitor *v, enum visitor_state state);

/* `in` has another size. */
void visitor_charge(struct visitor *v);

/* The visitor is no more, nor the bytes that it has sent; its line is the caller's. */
struct line *visitor_dismiss(struct visitor *v);
void visitor_close(struct visitor *v);

/*
 * Its last bytes, and the end: nothing is kept of its head, and what the client still sends is read and thrown away, or its
 * kernel would throw the answer away. Takes over what is in `reply`.
 */
void visitor_send_last(struct visitor *v, struct buf *reply);

/*
 * A refusal, as a problem.
 *
 *	headers	more of them, each with its CRLF, or ""
 *	detail	static
 */
void visitor_refuse(struct visitor *v, int status, const char *headers, const char *detail);
void visitor_refuse_problem(struct visitor *v, const struct problem *problem, const char *headers);
