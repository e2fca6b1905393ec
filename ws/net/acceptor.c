#include "ws/net/acceptor.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/log/log.h"
#include "base/process/supervisor.h"
#include "domain/http/request_head.h"
#include "ws/loop/client_socket.h"
#include "ws/loop/port.h"
#include "ws/loop/requester.h"
#include "ws/metrics/node_metrics.h"
#include "ws/net/router.h"

#define UNSERVED_MAX 1024 /* sockets that have never been served, once the node has no room for more */
#define HEADS_MAX 1024	  /* heads that have come in part */
#define HEADS_BYTES_MAX (8 << 20)
#define TURN 16		      /* sockets, before the loop looks at the others: most are served at once, in 200 µs */
#define WAITING_MS 10	      /* from one turn of those that have to wait to the next */
#define DATABASE_WAIT_MS 2000 /* before clients are let in to be told that the database is away */
#define SAY_EVERY_MS 10000    /* that some were sent away or refused */

/*
 *	CLOSED	who comes waits in the kernel: not all that clients may ask for can be done yet
 *	OPEN	accepts connections
 *	FULL	does not for a moment: out of descriptors
 *	SHUT	the ports are closed
 */
enum acceptor_state { ACCEPTOR_CLOSED, ACCEPTOR_OPEN, ACCEPTOR_FULL, ACCEPTOR_SHUT };

struct acceptor {
	struct node *node;
	struct port ports[2]; /* a port, and perhaps a path: closed where there is none */
	enum acceptor_state state;
	struct requesters requesters;
	uv_timer_t wait_timer;	  /* for the database, while CLOSED */
	uv_timer_t waiting_timer; /* active while a requester is WAITING */
	size_t late;		  /* requesters that had to wait for too long, since that was said last */
	bool said_full;		  /* such a time is one line in the log */
	size_t sent_away;	  /* to make room for others, since that was said last */
	int64_t say_ms;		  /* when it may be said again */
};

static void send_away(struct acceptor *a, struct requester *r)
{
	a->sent_away++;
	requester_close(r);
}

/* Whose head is kept: the one that began first of those that has not come whole, else of those that wait. */
static struct requester *first_head(const struct requesters *all)
{
	struct requester *reading = TAILQ_FIRST(&all->lists[REQUESTER_READING]);

	return reading ? reading : TAILQ_FIRST(&all->lists[REQUESTER_WAITING]);
}

/* Where too much is kept of heads. */
static void send_heads_away(struct acceptor *a)
{
	struct requesters *all = &a->requesters;
	struct requester *r;

	while ((r = first_head(all)) && (all->counts[REQUESTER_READING] > HEADS_MAX || all->bytes > HEADS_BYTES_MAX))
		send_away(a, r);
}

/* Those that wait, as far as the rate lets them in now; after a turn the loop looks at the others first. */
static void on_waiting(uv_timer_t *timer)
{
	struct acceptor *a = timer->data;
	struct requester *r = TAILQ_FIRST(&a->requesters.lists[REQUESTER_WAITING]);

	for (int turn = 0; r && turn < TURN; turn++) {
		r->scan = (struct request_scan){0};
		if (router_serve(r, (struct span){r->in.bytes, r->in.len}) == ROUTER_LATER)
			return;
		r = TAILQ_FIRST(&a->requesters.lists[REQUESTER_WAITING]);
	}
	if (r)
		uv_timer_start(timer, on_waiting, 0, WAITING_MS);
	else
		uv_timer_stop(timer);
}

/* Nothing more of it is read; one that has gone has no turn. */
static void let_wait(struct acceptor *a, struct requester *r)
{
	requester_move(r, REQUESTER_WAITING);
	client_socket_watch(r->socket, UV_DISCONNECT);
	if (!uv_is_active((uv_handle_t *)&a->waiting_timer))
		uv_timer_start(&a->waiting_timer, on_waiting, WAITING_MS, WAITING_MS);
}

/* Something has come: a whole request, or a part of one. Most often it comes whole, and is read where it is. */
static void receive(struct requester *r, struct span bytes)
{
	struct acceptor *a = r->node->acceptor;
	enum router_result result;

	if (r->in.len > 0) {
		buf_add(&r->in, bytes.bytes, bytes.len);
		bytes = (struct span){r->in.bytes, r->in.len};
	}
	if (!buf_ok(&r->in)) {
		requester_close(r);
		return;
	}
	result = router_serve(r, bytes);
	if (result == ROUTER_SERVED)
		return;
	if (r->in.len == 0)
		buf_add(&r->in, bytes.bytes, bytes.len);
	if (!buf_ok(&r->in)) {
		requester_close(r);
		return;
	}
	requester_charge(r);
	if (result == ROUTER_LATER)
		let_wait(a, r);
	else if (r->state != REQUESTER_READING)
		requester_move(r, REQUESTER_READING);
	send_heads_away(a);
}

/* What there is to read, now. The requester may be no more when this returns. */
static void read_request(struct requester *r)
{
	char bytes[REQUEST_HEAD_MAX];
	ssize_t got = recv(client_socket_fd(r->socket), bytes, sizeof(bytes), 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0)
		receive(r, (struct span){bytes, (size_t)got});
	else
		requester_close(r);
}

static void on_socket(void *owner, int status, int events)
{
	struct requester *r = owner;
	char rest[4096];

	(void)events;
	if (r->state == REQUESTER_WAITING)
		requester_close(r);
	else if (r->state != REQUESTER_LINGERING && status == 0)
		read_request(r);
	else if (status < 0 || recv(client_socket_fd(r->socket), rest, sizeof(rest), 0) == 0)
		requester_close(r);
}

static void accepted(struct acceptor *a, int fd, const struct sockaddr_storage *from)
{
	struct requester *r;
	struct client_socket *socket;
	struct address peer;

	address_of_peer(&peer, from);
	/* Most often its request is there already. */
	if (client_socket_new(&socket, &a->node->sockets, fd, &peer) == OK &&
	    requester_new(&r, &a->requesters, REQUESTER_NEW, socket) == OK)
		read_request(r);
}

static void pause_accepting(struct acceptor *a)
{
	a->state = ACCEPTOR_FULL;
	for (unsigned i = 0; i < ARRAY_LEN(a->ports); i++)
		port_stop(&a->ports[i]);
}

/*
 * Sessions and those between two polls have TIDINGS_CONNECTIONS_MAX places together, and who has not been served yet
 * has UNSERVED_MAX. Where one side leaves places free, the other may have them.
 */
static bool is_full(const struct acceptor *a)
{
	const struct node *n = a->node;

	return a->requesters.count >= UNSERVED_MAX &&
	       a->requesters.count + n->sessions.count >= (size_t)n->config->connections_max + UNSERVED_MAX;
}

/* Who has to go when there are too many: one that was answered, else the one that is there for the longest of those
 * that have more places than theirs. */
static struct requester *longest_here(const struct acceptor *a)
{
	const struct requesters *all = &a->requesters;
	struct requester *lingering = TAILQ_FIRST(&all->lists[REQUESTER_LINGERING]),
			 *resting = TAILQ_FIRST(&all->lists[REQUESTER_KEPT_ALIVE]),
			 *waiting = TAILQ_FIRST(&all->lists[REQUESTER_WAITING]),
			 *silent = TAILQ_FIRST(&all->lists[REQUESTER_NEW]);
	size_t unserved = all->counts[REQUESTER_NEW] + all->counts[REQUESTER_READING] + all->counts[REQUESTER_WAITING];

	if (lingering)
		return lingering;
	if (resting && unserved < UNSERVED_MAX)
		return resting;
	/* Of those that wait no one has a good token; of the others one may. */
	if (waiting)
		return waiting;
	return silent ? silent : TAILQ_FIRST(&all->lists[REQUESTER_READING]);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct acceptor *a = poll->data;
	uv_os_fd_t port;

	(void)status;
	(void)events;
	uv_fileno((const uv_handle_t *)poll, &port);
	for (int turn = 0; turn < TURN && a->state == ACCEPTOR_OPEN; turn++) {
		struct sockaddr_storage from = {0};
		socklen_t from_len = sizeof(from);
		int fd;

		if (is_full(a))
			send_away(a, longest_here(a));
		fd = accept4(port, (struct sockaddr *)&from, &from_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			a->said_full = false;
			accepted(a, fd, &from);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* Until the next check; the kernel keeps them in line. */
			if (!a->said_full)
				log_error("cannot accept connections errno=%d", errno);
			a->said_full = true;
			pause_accepting(a);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

static void accept_connections(struct acceptor *a)
{
	a->state = ACCEPTOR_OPEN;
	for (unsigned i = 0; i < ARRAY_LEN(a->ports); i++)
		port_start(&a->ports[i], on_ready);
}

static void open_first(struct acceptor *a)
{
	const struct config *c = a->node->config;

	if (a->state != ACCEPTOR_CLOSED)
		return;
	accept_connections(a);
	supervisor_tell(SUPERVISOR_READY);
	log_notice("listening address=%s port=%d socket=%s node=%s", c->ws_address, (int)c->ws_port,
		   c->ws_socket ? c->ws_socket : "", a->node->id_text);
}

static void on_wait_timer(uv_timer_t *timer)
{
	open_first(timer->data);
}

void acceptor_open_if_complete(struct acceptor *a)
{
	const struct node_database *db = &a->node->db;

	if (pipeline_is_up(db->fetches) && pipeline_is_up(db->queries) && pipeline_is_up(db->acts) &&
	    doorbell_is_settled(db->listener))
		open_first(a);
}

static bool listen_everywhere(struct acceptor *a, uv_loop_t *loop, const struct config *c)
{
	struct port *port = &a->ports[0], *path = &a->ports[1];

	port->fd = path->fd = -1;
	if (port_open(port, loop, c->ws_address, c->ws_port) != OK)
		return false;
	if (c->ws_socket && *c->ws_socket && port_open_path(path, loop, c->ws_socket) != OK)
		return false;
	port->poll.data = path->poll.data = a;
	return true;
}

enum err acceptor_new(struct acceptor **a, struct node *n)
{
	struct acceptor *made = calloc(1, sizeof(*made));

	if (!made)
		return ERR_MEMORY;
	made->node = n;
	if (!listen_everywhere(made, n->loop, n->config)) {
		/* Their handles are the loop's until it ends, and so does the program. */
		acceptor_shut(made);
		return ERR_SYSTEM;
	}
	requesters_init(&made->requesters, n, on_socket, receive);
	uv_timer_init(n->loop, &made->wait_timer);
	uv_timer_init(n->loop, &made->waiting_timer);
	made->wait_timer.data = made->waiting_timer.data = made;
	uv_timer_start(&made->wait_timer, on_wait_timer, DATABASE_WAIT_MS, 0);
	*a = made;
	return OK;
}

void acceptor_shut(struct acceptor *a)
{
	a->state = ACCEPTOR_SHUT;
	for (unsigned i = 0; i < ARRAY_LEN(a->ports); i++)
		port_close(&a->ports[i]);
}

void acceptor_check(struct acceptor *a, int64_t now_ms)
{
	struct requester *r;

	while ((r = requesters_overdue(&a->requesters, now_ms))) {
		if (r->state == REQUESTER_READING) {
			node_count_refused(r->node, REFUSED_HEAD);
			requester_refuse(r, 408, "", "The request did not come in time.");
		} else if (r->state == REQUESTER_WAITING) {
			a->late++;
			router_refuse_late(r);
		} else {
			requester_close(r);
		}
	}
	if (a->sent_away + a->late > 0 && now_ms >= a->say_ms) {
		if (a->sent_away > 0)
			log_notice("closed connections that asked for nothing, for others: too many requesters=%zu",
				   a->sent_away);
		if (a->late > 0)
			log_notice("refused connections without a token: too many requesters=%zu", a->late);
		a->sent_away = a->late = 0;
		a->say_ms = now_ms + SAY_EVERY_MS;
	}
	if (a->state == ACCEPTOR_FULL)
		accept_connections(a);
}

void acceptor_free(struct acceptor **a)
{
	struct requester *r;

	if (!*a)
		return;
	acceptor_shut(*a);
	while ((r = requesters_overdue(&(*a)->requesters, INT64_MAX)))
		requester_close(r);
	uv_timer_stop(&(*a)->waiting_timer);
	/* The sockets' handles still point here until the loop has closed them: it frees after. */
	free(*a);
	*a = NULL;
}
