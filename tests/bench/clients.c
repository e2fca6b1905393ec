#include "tests/bench/clients.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/scan.h"

#define READ_BYTES 65536
#define RETRY_NS INT64_C(100000000)
#define REOPEN_MAX 20 /* connections that a poll finds closed, one after the other */

enum state {
	CONNECTING, /* the socket does */
	ASKING,	    /* asked, and not greeted yet */
	READY,	    /* a poll's connection may be on its way anew */
	AWAY,	    /* no socket: cut, or not let in */
	LOST,	    /* no socket: closed by the server after it was greeted */
};

struct client {
	struct watch watch; /* fd -1: no socket */
	struct clients *all;
	struct wire wire;
	enum state state;
	unsigned topic;	    /* 1 … */
	bool heard;	    /* something came since it asked */
	unsigned opened;    /* how many connections it has had */
	unsigned in_vain;   /* of the last ones, how many were closed before anything came */
	uint64_t first_seq; /* of the first broadcast that was told; 0: none yet */
	uint64_t last_seq;  /* has everything up to here; 0: unknown */
	uint64_t order;	    /* of the numbers of all broadcasts that were told, in their order: a hash */
	int64_t retry_ns;   /* AWAY while clients resume: when to try again */
	char cursor[WIRE_CURSOR_SIZE];
	char *rest; /* owned: what is half received; NULL: nothing */
	size_t rest_len;
};

struct clients {
	struct clients_plan plan;
	struct clients_figures figures;
	int loop;
	bool telling;	  /* clients_run() was called: what comes is a run's */
	bool resuming;	  /* who is not let in tries again */
	unsigned away;	  /* how many are AWAY: mostly nobody, and then nobody is looked for */
	unsigned started; /* clients[0 … started) have a socket or had one */
	char *in;	  /* what one read gives, behind what its client had kept */
	size_t in_size;
	struct client clients[];
};

static void client_ready(struct watch *w, uint32_t events);

static void drop(struct client *c)
{
	if (c->watch.fd >= 0)
		close(c->watch.fd);
	c->watch.fd = -1;
	free(c->rest);
	c->rest = NULL;
	c->rest_len = 0;
}

static void open_connection(struct client *c)
{
	struct clients *all = c->all;
	/* However it ends, it ends with a reset: a web server keeps an abandoned poll until its answer, for what may be
	 * a client that only says no more. */
	struct linger reset = {.l_onoff = 1};

	drop(c);
	all->away -= c->state == AWAY;
	wire_reset(&c->wire, all->plan.kind, wire_polls(all->plan.kind) && c->state == READY, all->plan.deflate);
	if (c->state != READY)
		c->state = CONNECTING;
	c->heard = false;
	c->opened++;
	c->watch.ready = client_ready;
	c->watch.fd = connect_start(all->plan.host, all->plan.port);
	setsockopt(c->watch.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	loop_add(all->loop, &c->watch, EPOLLOUT);
}

static void start_some(struct clients *all)
{
	while (all->started < all->plan.count &&
	       all->started - all->figures.ready - all->figures.lost < all->plan.parallel) {
		struct client *c = &all->clients[all->started];

		c->all = all;
		c->topic = all->started % all->plan.topics + 1;
		c->watch.fd = -1;
		all->started++;
		open_connection(c);
	}
}

struct clients *clients_new(int loop, const struct clients_plan *plan)
{
	struct clients *all = must_alloc(NULL, sizeof(*all) + plan->count * sizeof(all->clients[0]));

	all->plan = *plan;
	all->loop = loop;
	start_some(all);
	return all;
}

/* Its connection is of no use any more. */
static void leave(struct client *c, const char *why)
{
	struct clients *all = c->all;

	if (c->state == READY && wire_polls(all->plan.kind) && !c->heard && c->in_vain++ < REOPEN_MAX) {
		/* The server closed it before it knew of the request, as RFC 9112, 9.3.1 has it: it asks again. */
		all->figures.reopened++;
		open_connection(c);
	} else if (c->state == READY) {
		fprintf(stderr, "client %td: %s%s\n", c - all->clients, why,
			c->in_vain > REOPEN_MAX ? ", again and again" : "");
		drop(c);
		c->state = LOST;
		all->figures.ready--;
		all->figures.lost++;
	} else if (all->resuming) {
		all->figures.refused++;
		drop(c);
		c->state = AWAY;
		all->away++;
		c->retry_ns = now_ns() + RETRY_NS;
	} else {
		die("client %td: %s before it was greeted", c - all->clients, why);
	}
}

static void greeted(void *context, struct span cursor);

static void ask(struct client *c)
{
	const struct clients_plan *plan = &c->all->plan;
	struct wire_question question = {.host = plan->host,
					 .token = plan->tokens ? plan->tokens[c - c->all->clients] : plan->token,
					 .deflate = plan->deflate,
					 .device = plan->device,
					 .cursor = c->cursor,
					 .port = plan->port,
					 .diagnosis = c->topic};
	char request[WIRE_REQUEST_MAX];
	size_t len = wire_request(request, plan->kind, &question);

	c->heard = false;
	if (send(c->watch.fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
		leave(c, "cannot send the request");
	else if (plan->kind == WIRE_NCHAN_POLL && c->state == ASKING)
		greeted(c, (struct span){0}); /* its first poll is held already; whoever measures waits for that */
}

static void connected(struct client *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		leave(c, strerror(error));
		return;
	}
	loop_change(c->all->loop, &c->watch, EPOLLIN);
	if (c->state == CONNECTING)
		c->state = ASKING;
	ask(c);
}

/* ---- what the wire tells */

static void set_cursor(struct client *c, struct span cursor)
{
	if (cursor.len >= sizeof(c->cursor))
		die("a cursor of %zu bytes", cursor.len);
	if (cursor.len > 0)
		memcpy(c->cursor, cursor.bytes, cursor.len);
	c->cursor[cursor.len] = '\0';
}

/* The seq of its cursor. */
static uint64_t cursor_seq(const struct client *c)
{
	const char *dash = strrchr(c->cursor, '-');

	return dash ? strtoull(dash + 1, NULL, 10) : 0;
}

/* Its cursor is where it is, as far as messages told that. */
static void check_cursor(const struct client *c)
{
	if (c->last_seq > 0 && cursor_seq(c) != c->last_seq)
		die("client %td: has everything up to seq %" PRIu64 ", and its cursor is %s", c - c->all->clients,
		    c->last_seq, c->cursor);
}

static void greeted(void *context, struct span cursor)
{
	struct client *c = context;
	struct clients *all = c->all;

	set_cursor(c, cursor);
	check_cursor(c);
	c->last_seq = cursor_seq(c);
	c->state = READY;
	all->figures.ready++;
	all->figures.ready_ns = now_ns();
}

/* Ours has a seq. Of others' it is only known which was posted when, and that is not the order in which it was taken.
 */
static void check_order(struct client *c, int64_t seq)
{
	if (c->last_seq > 0 && (uint64_t)seq != c->last_seq + 1)
		die("client %td: seq %" PRId64 " after %" PRIu64, c - c->all->clients, seq, c->last_seq);
	c->last_seq = (uint64_t)seq;
}

static void message(void *context, struct span json, size_t bytes, bool missed)
{
	struct client *c = context;
	struct clients *all = c->all;
	int64_t seq = scan_number(json, "\"seq\"");

	int64_t number = scan_number(json, "\"feedback_id\"");

	if (wire_has_seq(all->plan.kind)) {
		if (seq < 0)
			return;
		check_order(c, seq);
	}
	/* What waited when it came the first time belongs to nobody's run. */
	if (!all->telling || (missed && !all->resuming))
		return;
	if (c->first_seq == 0)
		c->first_seq = c->last_seq;
	all->figures.last_ns = now_ns();
	if (all->figures.first_ns == 0)
		all->figures.first_ns = all->figures.last_ns;
	all->figures.received++;
	all->figures.bytes += bytes;
	c->order = (c->order ^ (uint64_t)number) * UINT64_C(0x100000001b3);
	all->plan.received(all->plan.context, number);
}

static void answered(void *context, struct span cursor, bool closes)
{
	struct client *c = context;

	set_cursor(c, cursor);
	check_cursor(c);
	c->all->figures.answers++;
	if (closes) {
		c->all->figures.reopened++;
		/* Not from within the reading of its bytes. */
		c->wire.over = true;
	} else {
		ask(c);
	}
}

static void say(void *context, struct span bytes)
{
	struct client *c = context;

	if (send(c->watch.fd, bytes.bytes, bytes.len, MSG_NOSIGNAL) != (ssize_t)bytes.len)
		leave(c, "cannot send a pong");
}

static void ended(void *context, const char *why)
{
	leave(context, why);
}

static void receive(struct client *c)
{
	static const struct wire_ops ops = {
		.greeted = greeted, .message = message, .answered = answered, .say = say, .ended = ended};
	struct clients *all = c->all;

	if (all->in_size < c->rest_len + READ_BYTES) {
		all->in_size = c->rest_len + READ_BYTES;
		all->in = must_alloc(all->in, all->in_size);
	}
	if (c->rest_len)
		memcpy(all->in, c->rest, c->rest_len);

	ssize_t n = read(c->watch.fd, all->in + c->rest_len, READ_BYTES);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		leave(c, n == 0 ? "the server hung up" : strerror(errno));
		return;
	}
	all->figures.reads++;
	c->heard = true;
	c->in_vain = 0;

	size_t len = c->rest_len + (size_t)n;
	unsigned opened = c->opened;
	size_t done = wire_read(&c->wire, all->in, c->rest_len, &len, &ops, c);

	/* It is gone, or on another connection. */
	if (c->opened != opened || c->watch.fd < 0)
		return;
	if (c->wire.over) {
		open_connection(c);
		return;
	}
	if (done == len) {
		free(c->rest);
		c->rest = NULL;
		c->rest_len = 0;
		return;
	}
	c->rest_len = len - done;
	c->rest = must_alloc(c->rest, c->rest_len);
	memcpy(c->rest, all->in + done, c->rest_len);
}

static void client_ready(struct watch *w, uint32_t events)
{
	struct client *c = (struct client *)w;

	if (w->fd < 0)
		return;
	if (events & EPOLLOUT || c->state == CONNECTING)
		connected(c);
	else
		receive(c);
	if (c->all->started < c->all->plan.count)
		start_some(c->all);
}

/* ---- runs */

unsigned clients_of_topic(const struct clients *c, unsigned topic)
{
	return c->plan.count / c->plan.topics + (topic <= c->plan.count % c->plan.topics);
}

void clients_run(struct clients *c)
{
	c->figures = (struct clients_figures){.ready = c->figures.ready, .lost = c->figures.lost};
	c->telling = true;
}

void clients_cut(struct clients *all)
{
	for (unsigned i = 0; i < all->plan.count; i++) {
		struct client *c = &all->clients[i];

		drop(c);
		c->state = AWAY;
		c->retry_ns = 0;
		/* What it has, whatever it was told last. */
		char *dash = strrchr(c->cursor, '-');

		if (!dash)
			die("client %u has no cursor", i);
		snprintf(dash, sizeof(c->cursor) - (size_t)(dash - c->cursor), "-%" PRIu64, c->last_seq);
	}
	all->figures.ready = 0;
	all->away = all->plan.count;
}

void clients_resume(struct clients *all)
{
	clients_run(all);
	all->resuming = true;
	clients_retry(all);
}

void clients_retry(struct clients *all)
{
	int64_t now = now_ns();

	for (unsigned i = 0; all->away > 0 && i < all->plan.count; i++) {
		if (all->clients[i].state == AWAY && all->clients[i].retry_ns <= now)
			open_connection(&all->clients[i]);
	}
}

const struct clients_figures *clients_figures(const struct clients *c)
{
	return &c->figures;
}

void clients_check_equal(const struct clients *all)
{
	for (unsigned i = all->plan.topics; i < all->plan.count; i++) {
		const struct client *c = &all->clients[i], *other = &all->clients[i - all->plan.topics];

		if (c->first_seq != other->first_seq || c->last_seq != other->last_seq)
			die("client %u got seq %" PRIu64 " to %" PRIu64 ", another one of the same topic %" PRIu64
			    " to %" PRIu64,
			    i, c->first_seq, c->last_seq, other->first_seq, other->last_seq);
		if (c->order != other->order)
			die("client %u got other messages than another one of the same topic, or in another order", i);
	}
}

void clients_free(struct clients **all)
{
	struct clients *c = *all;

	if (!c)
		return;
	for (unsigned i = 0; i < c->started; i++)
		drop(&c->clients[i]);
	free(c->in);
	free(c);
	*all = NULL;
}
