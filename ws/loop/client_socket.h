/*
 * client_socket - a client's socket in the loop, from when it is accepted until it is closed or libwebsockets has it.
 *
 * Who has it changes: a requester while the head of a request is read, an http_transport while its reply is held, a requester
 * again until the next request. The socket and its handle go from one to the next: a handle made anew each time took
 * 15 epoll_ctl calls a poll.
 *
 *	client_socket_new() -> client_socket_take() -> client_socket_take() … -> client_socket_close() | client_socket_leave()
 *
 * Layer    ws.
 * Time     an event is never told from inside a function here: only by the loop.
 */
#pragma once

#include <stdbool.h>
#include <sys/queue.h>
#include <uv.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/net/address.h"

struct client_socket; /* opaque */

TAILQ_HEAD(client_socket_list, client_socket);

/* The sockets of a node. */
struct client_sockets {
	uv_loop_t *loop; /* borrowed */
	uv_idle_t turn;	 /* active while somebody is in `soon` */
	struct client_socket_list soon;
};

/*
 * The owner is told: `events` are those of uv_poll_t; `status` is below 0 when the socket is of no use any more. The
 * owner may close the socket, or give it away.
 */
typedef void (*client_socket_event)(void *owner, int status, int events);

void client_sockets_init(struct client_sockets *all, uv_loop_t *loop);

/*
 * Nothing is watched until somebody takes it.
 *
 *	fd	taken; closed on failure
 */
enum err client_socket_new(struct client_socket **s, struct client_sockets *all, int fd,
			   const struct address *peer) MUST_CHECK;

/* Another owner (borrowed), who hears of what there is to read. Nothing more is told to the one before. */
void client_socket_take(struct client_socket *s, void *owner, client_socket_event event);

int client_socket_fd(const struct client_socket *s);

/* Lent. */
const struct address *client_socket_peer(const struct client_socket *s);

/* From now on these events, and no others. */
void client_socket_watch(struct client_socket *s, int events);
bool client_socket_watches(const struct client_socket *s, int events);

/* Those in `soon` are told now; only from the loop. */
void client_sockets_run(struct client_sockets *all);

/* UV_WRITABLE is told once, at one of the loop's next turns, without asking the kernel whether it is so. */
void client_socket_soon(struct client_socket *s);

/* Out of the loop: the socket is the caller's. */
int client_socket_leave(struct client_socket **s);
void client_socket_close(struct client_socket **s);
