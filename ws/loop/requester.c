#include "ws/loop/requester.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "domain/http/problem.h"

#define ROOMY_BYTES 8192 /* of an answer, from when on its socket is to have more room than sockets have at first */

/*
 * How long it may stay so. KEPT_ALIVE: nginx keeps an idle connection to an upstream for 60 s; it is to be the one that
 * closes, or its next request may meet our close. LINGERING: for the client to read a refusal.
 */
static const int64_t stay_ms[REQUESTER_STATES] = {
	[REQUESTER_NEW] = 10000,    [REQUESTER_KEPT_ALIVE] = 65000, [REQUESTER_READING] = 10000,
	[REQUESTER_WAITING] = 5000, [REQUESTER_LINGERING] = 2000,
};

void requesters_init(struct requesters *all, struct node *n, client_socket_event event, requester_receive receive)
{
	*all = (struct requesters){.node = n, .event = event, .receive = receive};
	for (int i = 0; i < REQUESTER_STATES; i++)
		TAILQ_INIT(&all->lists[i]);
}

struct requester *requesters_overdue(const struct requesters *all, int64_t now_ms)
{
	for (int i = 0; i < REQUESTER_STATES; i++) {
		struct requester *r = TAILQ_FIRST(&all->lists[i]);

		if (r && now_ms >= r->due_ms)
			return r;
	}
	return NULL;
}

static void enter(struct requester *r, enum requester_state state)
{
	r->state = state;
	r->due_ms = clock_monotonic_ms() + stay_ms[state];
	TAILQ_INSERT_TAIL(&r->all->lists[state], r, link);
	r->all->counts[state]++;
	r->all->count++;
}

static void leave(struct requester *r)
{
	TAILQ_REMOVE(&r->all->lists[r->state], r, link);
	r->all->counts[r->state]--;
	r->all->count--;
}

enum err requester_new(struct requester **r, struct requesters *all, enum requester_state state,
		       struct client_socket *socket)
{
	struct requester *made = calloc(1, sizeof(*made));

	if (!made) {
		client_socket_close(&socket);
		return ERR_MEMORY;
	}
	made->all = all;
	made->node = all->node;
	made->socket = socket;
	enter(made, state);
	client_socket_take(socket, made, all->event);
	*r = made;
	return OK;
}

void requesters_keep_alive(struct requesters *all, struct client_socket *socket, const struct buf *early)
{
	struct requester *r;

	if (requester_new(&r, all, REQUESTER_KEPT_ALIVE, socket) == OK && early->len > 0)
		all->receive(r, (struct span){early->bytes, early->len});
}

void requester_move(struct requester *r, enum requester_state state)
{
	leave(r);
	enter(r, state);
}

void requester_charge(struct requester *r)
{
	r->all->bytes += r->in.size - r->charged;
	budget_release(&r->node->budget, r->charged);
	budget_reserve(&r->node->budget, r->in.size);
	r->charged = r->in.size;
}

struct client_socket *requester_dismiss(struct requester *r)
{
	struct client_socket *socket = r->socket;

	leave(r);
	buf_free(&r->in);
	requester_charge(r);
	free(r);
	return socket;
}

void requester_close(struct requester *r)
{
	struct client_socket *socket = requester_dismiss(r);

	client_socket_close(&socket);
}

void requester_send_last(struct requester *r, struct buf *reply)
{
	int fd = client_socket_fd(r->socket);

	/* It fits into an empty socket buffer; a peer that makes it not fit gets none. */
	if (buf_ok(reply) && send(fd, reply->bytes, reply->len, MSG_NOSIGNAL) == (ssize_t)reply->len &&
	    shutdown(fd, SHUT_WR) == 0) {
		buf_free(&r->in);
		requester_charge(r);
		requester_move(r, REQUESTER_LINGERING);
		client_socket_watch(r->socket, UV_READABLE);
	} else {
		requester_close(r);
	}
	buf_free(reply);
}

void requester_answer(struct requester *r, int status, const char *type, struct buf *body, const char *headers)
{
	char date[CLOCK_HTTP_DATE_SIZE];
	struct buf reply = BUF_EMPTY;
	int room = 2 * (int)body->len; /* of the socket's buffer: the kernel counts more than the bytes */

	buf_printf(&reply,
		   "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
		   "Date: %s\r\nConnection: close\r\n%s\r\n",
		   status, status == 200 ? "OK" : problem_title(status), type, body->len,
		   clock_http_date(date, clock_wall_us()), headers);
	if (!r->head_only)
		buf_add(&reply, body->bytes, body->len);
	if (!buf_ok(body))
		reply.failed = true;
	if (body->len > ROOMY_BYTES)
		(void)setsockopt(client_socket_fd(r->socket), SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	buf_free(body);
	requester_send_last(r, &reply);
}

bool requester_takes_get(struct requester *r, const struct request_head *head)
{
	if (!request_head_is_method(head, "GET") && !r->head_only)
		requester_refuse(r, 405, "Allow: GET, HEAD\r\n", "This route takes GET only.");
	else if (head->body_status != 0)
		requester_refuse(r, head->body_status, "", "No body is taken here.");
	else
		return true;
	return false;
}

void requester_refuse_problem(struct requester *r, const struct problem *problem, const char *headers)
{
	struct buf body = BUF_EMPTY, reply = BUF_EMPTY;
	char date[CLOCK_HTTP_DATE_SIZE];

	problem_write(&body, problem);
	/* Who is to upgrade is told so in Connection as well (RFC 9110, section 7.8). */
	buf_printf(&reply,
		   "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\nCache-Control: "
		   "no-store\r\nDate: %s\r\n"
		   "Connection: %sclose\r\n%s\r\n",
		   problem->status, problem_title(problem->status), body.len, clock_http_date(date, clock_wall_us()),
		   problem->status == 426 ? "Upgrade, " : "", headers);
	if (!r->head_only)
		buf_add(&reply, body.bytes, body.len);
	if (!buf_ok(&body))
		reply.failed = true;
	buf_free(&body);
	requester_send_last(r, &reply);
}

void requester_refuse(struct requester *r, int status, const char *headers, const char *detail)
{
	requester_refuse_problem(r, &(struct problem){.status = status, .detail = detail}, headers);
}
