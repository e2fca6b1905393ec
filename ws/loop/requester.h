/*
 * requester - a socket that waits for a request, or has been sent away.
 *
 *	NEW		accepted, and has said nothing yet
 *	KEPT_ALIVE	a poll's reply went out on it, and the next poll may come
 *	READING		the head of its request comes, in pieces
 *	WAITING		its request came without a good token, as too many have: it has its turn later
 *	LINGERING	it was answered; what it still sends is thrown away, until it has read the answer
 *
 * A requester is in the list of its state, and has so much time in each.
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
#include "domain/http/problem.h"
#include "domain/http/request_head.h"
#include "ws/loop/client_socket.h"
#include "ws/node.h"

enum requester_state {
	REQUESTER_NEW,
	REQUESTER_KEPT_ALIVE,
	REQUESTER_READING,
	REQUESTER_WAITING,
	REQUESTER_LINGERING,
	REQUESTER_STATES
};

struct requester;

TAILQ_HEAD(requester_list, requester);

/* It has sent something: a whole request, or a part of one. The requester may be no more when this returns. */
typedef void (*requester_receive)(struct requester *r, struct span bytes);

struct requesters {
	struct node *node;	   /* borrowed */
	client_socket_event event; /* of a requester's socket: the acceptor's */
	requester_receive receive;
	struct requester_list lists[REQUESTER_STATES]; /* who came first is first, and due first */
	size_t counts[REQUESTER_STATES];
	size_t count;
	size_t bytes; /* of heads that are not whole, or have to wait; they are in node.budget too */
};

struct requester {
	TAILQ_ENTRY(requester) link;  /* in the list of its state */
	struct requesters *all;	      /* borrowed */
	struct node *node;	      /* borrowed */
	struct client_socket *socket; /* owned */
	struct buf in;		      /* what it has sent, while its head is not whole, or has to wait */
	size_t charged;		      /* of that, in requesters.bytes */
	struct request_scan scan;     /* of that */
	bool head_only;		      /* its request was a HEAD: its reply has no body */
	enum requester_state state;
	int64_t due_ms; /* when it is sent away */
};

void requesters_init(struct requesters *all, struct node *n, client_socket_event event, requester_receive receive);

/* One whose time is over; NULL: there is none. */
struct requester *requesters_overdue(const struct requesters *all, int64_t now_ms);

/*
 * A requester in this state.
 *
 *	socket	taken; closed on failure
 */
enum err requester_new(struct requester **r, struct requesters *all, enum requester_state state,
		       struct client_socket *socket) MUST_CHECK;

/*
 * A reply is out on the socket (taken): its client may ask again.
 *
 *	early	the beginning of that, or more, where it has done so already
 */
void requesters_keep_alive(struct requesters *all, struct client_socket *socket, const struct buf *early);

void requester_move(struct requester *r, enum requester_state state);

/* `in` has another size. */
void requester_charge(struct requester *r);

/* The requester is no more, nor the bytes that it has sent; its socket is the caller's. */
struct client_socket *requester_dismiss(struct requester *r);
void requester_close(struct requester *r);

/*
 * Its last bytes, and the end: nothing is kept of its head, and what the client still sends is read and thrown away, or its
 * kernel would throw the answer away. Takes over what is in `reply`.
 */
void requester_send_last(struct requester *r, struct buf *reply);

/*
 * An answer, and the end.
 *
 *	type	of its body
 *	body	taken: freed
 *	headers	more of them, each with its CRLF, or ""
 */
void requester_answer(struct requester *r, int status, const char *type, struct buf *body, const char *headers);

/* False: it is no GET, or HEAD, without a body, and is refused. */
bool requester_takes_get(struct requester *r, const struct request_head *head);

/*
 * A refusal, as a problem.
 *
 *	headers	more of them, each with its CRLF, or ""
 *	detail	static
 */
void requester_refuse(struct requester *r, int status, const char *headers, const char *detail);
void requester_refuse_problem(struct requester *r, const struct problem *problem, const char *headers);
