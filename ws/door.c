#include "ws/door.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "domain/request_head.h"
#include "ws/line.h"
#include "ws/listening.h"
#include "ws/reception.h"
#include "ws/visitor.h"

#define STRANGERS_MAX 1024 /* sockets that have never been served, once the node has no room for more */
#define HEADS_MAX 1024	   /* heads that have come in part */
#define HEADS_BYTES_MAX (8 << 20)
#define TURN 16		   /* sockets, before the loop looks at the others: most are served at once, in 200 µs */
#define WAITING_MS 10	   /* from one turn of those that have to wait to the next */
#define SAY_EVERY_MS 10000 /* that some were sent away or refused */

struct door {
	struct node *node;
	struct lines lines;
	struct listening places[2]; /* a port, and perhaps a path: closed where there is none */
	bool shut;
	struct visitors visitors;
	bool full;	    /* not accepting for the moment: out of descriptors */
	bool said_full;	    /* such a time is one line in the log */
	size_t sent_away;   /* to make room for others, since that was said last */
	size_t late;	    /* had to wait for too long, since then */
	int64_t say_ms;	    /* when it may be said again */
	uv_timer_t waiting; /* active while somebody is VISITOR_WAITING */
};

static void send_away(struct door *d, struct visitor *v)
{
	d->sent_away++;
	visitor_close(v);
}

/* Whose head is kept: the one that began first of those that has not come whole, else of those that wait. */
static struct visitor *first_head(const struct visitors *all)
{
	struct visitor *reading = TAILQ_FIRST(&all->lists[VISITOR_READING]);

	return reading ? reading : TAILQ_FIRST(&all->lists[VISITOR_WAITING]);
}

/* Where too much is kept of heads. */
static void send_heads_away(struct door *d)
{
	struct visitors *all = &d->visitors;
	struct visitor *v;

	while ((v = first_head(all)) && (all->counts[VISITOR_READING] > HEADS_MAX || all->bytes > HEADS_BYTES_MAX))
		send_away(d, v);
}

/* Those that wait, as far as the rate lets them in now; after a turn the loop looks at the others first. */
static void on_waiting(uv_timer_t *timer)
{
	struct door *d = timer->data;
	struct visitor *v = TAILQ_FIRST(&d->visitors.lists[VISITOR_WAITING]);

	for (int turn = 0; v && turn < TURN; turn++) {
		v->scan = (struct request_scan){0};
		if (reception_serve(v, (struct span){v->in.bytes, v->in.len}) == RECEPTION_LATER)
			return;
		v = TAILQ_FIRST(&d->visitors.lists[VISITOR_WAITING]);
	}
	if (v)
		uv_timer_start(timer, on_waiting, 0, WAITING_MS);
	else
		uv_timer_stop(timer);
}

/* Nothing more of it is read; whoever has gone has no turn. */
static void let_wait(struct door *d, struct visitor *v)
{
	visitor_move(v, VISITOR_WAITING);
	line_watch(v->line, UV_DISCONNECT);
	if (!uv_is_active((uv_handle_t *)&d->waiting))
		uv_timer_start(&d->waiting, on_waiting, WAITING_MS, WAITING_MS);
}

/* Something has come: a whole request, or a part of one. Most often it comes whole, and is read where it is. */
static void serve(struct visitor *v, struct span bytes)
{
	struct door *d = v->node->door;
	enum reception got;

	if (v->in.len > 0) {
		buf_add(&v->in, bytes.bytes, bytes.len);
		bytes = (struct span){v->in.bytes, v->in.len};
	}
	if (!buf_ok(&v->in)) {
		visitor_close(v);
		return;
	}
	got = reception_serve(v, bytes);
	if (got == RECEPTION_SERVED)
		return;
	if (v->in.len == 0)
		buf_add(&v->in, bytes.bytes, bytes.len);
	if (!buf_ok(&v->in)) {
		visitor_close(v);
		return;
	}
	visitor_charge(v);
	if (got == RECEPTION_LATER)
		let_wait(d, v);
	else if (v->state != VISITOR_READING)
		visitor_move(v, VISITOR_READING);
	send_heads_away(d);
}

static void read_head(struct visitor *v)
{
	char bytes[REQUEST_HEAD_MAX];
	ssize_t got = recv(line_fd(v->line), bytes, sizeof(bytes), 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0)
		serve(v, (struct span){bytes, (size_t)got});
	else
		visitor_close(v);
}

static void on_visitor(void *owner, int status, int events)
{
	struct visitor *v = owner;
	char rest[4096];

	(void)events;
	if (v->state == VISITOR_WAITING)
		visitor_close(v);
	else if (v->state != VISITOR_LINGERING && status == 0)
		read_head(v);
	else if (status < 0 || recv(line_fd(v->line), rest, sizeof(rest), 0) == 0)
		visitor_close(v);
}

static void welcome(struct door *d, int fd)
{
	struct visitor *v;
	struct line *line;

	/* Most often its request is there already. */
	if (line_new(&line, &d->lines, fd) == OK &&
	    visitor_new(&v, &d->visitors, d->node, VISITOR_NEW, line, on_visitor) == OK)
		read_head(v);
}

/* A poll's reply is out: its client may ask again on the same connection, and may have done so. */
static void reply_done(struct node *n, struct line *line, bool keep_alive, const struct buf *early)
{
	struct door *d = n->door;
	struct visitor *v;

	if (!keep_alive) {
		line_close(&line);
		return;
	}
	if (visitor_new(&v, &d->visitors, n, VISITOR_RESTING, line, on_visitor) == OK && early->len > 0)
		serve(v, (struct span){early->bytes, early->len});
}

static void end_replies(struct node *n)
{
	lines_run(&n->door->lines);
}

static void pause_accepting(struct door *d)
{
	d->full = true;
	for (unsigned i = 0; i < ARRAY_LEN(d->places); i++)
		listening_stop(&d->places[i]);
}

/*
 * Sessions and those between two polls have TIDINGS_CONNECTIONS_MAX places together, and who has not been served yet
 * has STRANGERS_MAX. Where one side leaves places free, the other may have them.
 */
static bool is_full(const struct door *d)
{
	const struct node *n = d->node;

	return d->visitors.count >= STRANGERS_MAX &&
	       d->visitors.count + n->sessions_count >= (size_t)n->config->connections_max + STRANGERS_MAX;
}

/* Who has to go when there are too many: one that was answered, else the one that is there for the longest of those
 * that have more places than theirs. */
static struct visitor *longest_here(const struct door *d)
{
	const struct visitors *all = &d->visitors;
	struct visitor *lingering = TAILQ_FIRST(&all->lists[VISITOR_LINGERING]),
		       *resting = TAILQ_FIRST(&all->lists[VISITOR_RESTING]),
		       *waiting = TAILQ_FIRST(&all->lists[VISITOR_WAITING]),
		       *silent = TAILQ_FIRST(&all->lists[VISITOR_NEW]);
	size_t strangers = all->counts[VISITOR_NEW] + all->counts[VISITOR_READING] + all->counts[VISITOR_WAITING];

	if (lingering)
		return lingering;
	if (resting && strangers < STRANGERS_MAX)
		return resting;
	/* Of those that wait no one has a good token; of the others one may. */
	if (waiting)
		return waiting;
	return silent ? silent : TAILQ_FIRST(&all->lists[VISITOR_READING]);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct door *d = poll->data;
	uv_os_fd_t listening;

	(void)status;
	(void)events;
	uv_fileno((const uv_handle_t *)poll, &listening);
	for (int turn = 0; turn < TURN && !d->shut; turn++) {
		int fd;

		if (is_full(d))
			send_away(d, longest_here(d));
		fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			d->said_full = false;
			welcome(d, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* Until the next check; the kernel keeps them in line. */
			if (!d->said_full)
				log_error("cannot accept connections errno=%d", errno);
			d->said_full = true;
			pause_accepting(d);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

static bool listen_everywhere(struct door *d, uv_loop_t *loop, const struct config *c)
{
	struct listening *port = &d->places[0], *path = &d->places[1];

	port->fd = path->fd = -1;
	if (listening_on_port(port, loop, c->ws_address, c->ws_port) != OK)
		return false;
	if (c->ws_socket && *c->ws_socket && listening_on_path(path, loop, c->ws_socket) != OK)
		return false;
	port->poll.data = path->poll.data = d;
	return true;
}

enum err door_new(struct door **d, struct node *n)
{
	struct door *made = calloc(1, sizeof(*made));

	if (!made)
		return ERR_MEMORY;
	made->node = n;
	n->reply_done = reply_done;
	n->end_replies = end_replies;
	if (!listen_everywhere(made, n->loop, n->config)) {
		/* Their handles are the loop's until it ends, and so does the program. */
		door_shut(made);
		return ERR_SYSTEM;
	}
	lines_init(&made->lines, n->loop);
	uv_timer_init(n->loop, &made->waiting);
	made->waiting.data = made;
	visitors_init(&made->visitors);
	*d = made;
	return OK;
}

void door_open(struct door *d)
{
	for (unsigned i = 0; i < ARRAY_LEN(d->places); i++)
		listening_start(&d->places[i], on_ready);
}

void door_shut(struct door *d)
{
	d->shut = true;
	for (unsigned i = 0; i < ARRAY_LEN(d->places); i++)
		listening_close(&d->places[i]);
}

void door_check(struct door *d, int64_t now_ms)
{
	struct visitor *v;

	while ((v = visitors_overdue(&d->visitors, now_ms))) {
		if (v->state == VISITOR_READING) {
			visitor_refuse(v, 408, "", "The request did not come in time.");
		} else if (v->state == VISITOR_WAITING) {
			d->late++;
			reception_refuse_late(v);
		} else {
			visitor_close(v);
		}
	}
	if (d->sent_away + d->late > 0 && now_ms >= d->say_ms) {
		if (d->sent_away > 0)
			log_notice("closed connections that asked for nothing, for others: too many visitors=%zu",
				   d->sent_away);
		if (d->late > 0)
			log_notice("refused connections without a token: too many visitors=%zu", d->late);
		d->sent_away = d->late = 0;
		d->say_ms = now_ms + SAY_EVERY_MS;
	}
	if (d->full && !d->shut) {
		d->full = false;
		door_open(d);
	}
}

void door_free(struct door **d)
{
	struct visitor *v;

	if (!*d)
		return;
	door_shut(*d);
	while ((v = visitors_overdue(&(*d)->visitors, INT64_MAX)))
		visitor_close(v);
	uv_timer_stop(&(*d)->waiting);
	/* The lines' handles still point here until the loop has closed them: it frees after. */
	free(*d);
	*d = NULL;
}
