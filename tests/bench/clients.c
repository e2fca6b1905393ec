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

#define READ_BYTES 65536
#define HEAD_MAX 8192		     /* bytes of a reply to the upgrade */
#define PAYLOAD_MAX (64 * 1024 * 1024) /* more in one frame is a fault, not a message */

/* The example of RFC 6455, 1.3: so the right answer is known, and is checked. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { OPCODE_CONTINUATION = 0, OPCODE_TEXT = 1, OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10 };

enum state { CONNECTING, UPGRADING, GREETED_NOT, READY, LOST };

struct client {
	struct watch watch; /* fd -1 when LOST */
	struct clients *all;
	enum state state;
	unsigned topic;	    /* 1 … */
	uint64_t first_seq; /* of the first broadcast; 0: none yet */
	uint64_t last_seq;
	char *rest; /* owned: what is half received; NULL: nothing */
	size_t rest_len;
};

struct clients {
	struct clients_plan plan;
	struct clients_figures figures;
	int loop;
	unsigned started; /* clients[0 … started) have a socket or had one */
	char *in;	  /* what one read gives, behind what its client had kept */
	size_t in_size;
	struct client clients[];
};

static void client_ready(struct watch *w, uint32_t events);

static void start_some(struct clients *all)
{
	while (all->started < all->plan.count &&
	       all->started - all->figures.ready - all->figures.lost < all->plan.parallel) {
		struct client *c = &all->clients[all->started];

		c->all = all;
		c->topic = all->started % all->plan.topics + 1;
		c->watch.ready = client_ready;
		c->watch.fd = connect_start(all->plan.host, all->plan.port);
		loop_add(all->loop, &c->watch, EPOLLOUT);
		all->started++;
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

static void lose(struct client *c, const char *why)
{
	if (c->state != READY)
		die("client %td: %s before the connect message", c - c->all->clients, why);
	fprintf(stderr, "client %td: %s\n", c - c->all->clients, why);
	close(c->watch.fd);
	c->watch.fd = -1;
	c->state = LOST;
	c->all->figures.ready--;
	c->all->figures.lost++;
}

static void upgrade(struct client *c)
{
	const struct clients_plan *plan = &c->all->plan;
	char request[HEAD_MAX];
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(c->watch.fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error)
		die("%s:%d: %s", plan->host, plan->port, strerror(error));

	int n = snprintf(request, sizeof(request),
			 "GET /ws/%u%s%s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
			 c->topic, plan->token ? "?token=" : "", plan->token ? plan->token : "", plan->host,
			 plan->port);

	if (n < 0 || (size_t)n >= sizeof(request))
		die("the token is too long");
	if (send(c->watch.fd, request, (size_t)n, MSG_NOSIGNAL) != n)
		die("cannot send the upgrade");
	c->state = UPGRADING;
	loop_change(c->all->loop, &c->watch, EPOLLIN);
}

/* Bytes of the head at the start of `in`; 0: not all here yet. */
static size_t upgraded(struct client *c, const char *in, size_t len)
{
	const char *end = memmem(in, len, "\r\n\r\n", 4);

	if (!end) {
		if (len > HEAD_MAX)
			die("no end of the reply to the upgrade");
		return 0;
	}
	if (len < 12 || memcmp(in, "HTTP/1.1 101", 12) != 0)
		die("the upgrade was answered '%.*s'", (int)strcspn(in, "\r"), in);

	size_t head = (size_t)(end - in) + 4;

	if (!memmem(in, head, ACCEPT, strlen(ACCEPT)))
		die("the upgrade was accepted with a wrong Sec-WebSocket-Accept");
	c->state = GREETED_NOT;
	return head;
}

/* Where the value of `"key":` starts, or NULL. Good enough for our own flat messages; this is no JSON parser. */
static const char *member(const char *json, size_t len, const char *key)
{
	const char *end = json + len, *at = json;
	size_t key_len = strlen(key);

	while ((at = memmem(at, (size_t)(end - at), key, key_len))) {
		at += key_len;
		while (at < end && *at == ' ')
			at++;
		if (at == end || *at++ != ':')
			continue;
		while (at < end && *at == ' ')
			at++;
		return at < end ? at : NULL;
	}
	return NULL;
}

/* -1 when there is none. */
static int64_t member_number(const char *json, size_t len, const char *key)
{
	const char *at = member(json, len, key);
	int64_t n = 0;

	if (!at || *at < '0' || *at > '9')
		return -1;
	for (; at < json + len && *at >= '0' && *at <= '9'; at++)
		n = n * 10 + (*at - '0');
	return n;
}

static int type_is(const char *json, size_t len, const char *type)
{
	const char *at = member(json, len, "\"type\"");
	size_t type_len = strlen(type);

	return at && (size_t)(json + len - at) > type_len && memcmp(at, type, type_len) == 0;
}

static void text(struct client *c, const char *json, size_t len, size_t frame_bytes)
{
	struct clients *all = c->all;

	if (c->state == GREETED_NOT) {
		if (!type_is(json, len, "\"connect\""))
			die("the first message is not connect: %.*s", (int)MIN(len, 200), json);
		c->state = READY;
		all->figures.ready++;
		return;
	}

	int64_t seq = member_number(json, len, "\"seq\"");

	if (seq < 0 || type_is(json, len, "\"reconnect_messages\""))
		return;
	if (c->first_seq == 0)
		c->first_seq = (uint64_t)seq;
	else if ((uint64_t)seq != c->last_seq + 1)
		die("client %td: seq %" PRId64 " after %" PRIu64, c - all->clients, seq, c->last_seq);
	c->last_seq = (uint64_t)seq;

	all->figures.last_ns = now_ns();
	if (all->figures.first_ns == 0)
		all->figures.first_ns = all->figures.last_ns;
	all->figures.received++;
	all->figures.bytes += frame_bytes;
	all->plan.received(all->plan.context, member_number(json, len, "\"feedback_id\""));
}

static void pong(struct client *c, const char *payload, size_t len)
{
	/* Masked, as a client's frames must be, with a mask of zeros. */
	char frame[6 + 125] = {(char)(0x80 | OPCODE_PONG), (char)(0x80 | len)};

	memcpy(frame + 6, payload, len);
	if (send(c->watch.fd, frame, 6 + len, MSG_NOSIGNAL) != (ssize_t)(6 + len))
		lose(c, "cannot send a pong");
}

/* Bytes of the frame at the start of `in`, which was dealt with; 0: not all here yet. */
static size_t frame(struct client *c, const char *in, size_t len)
{
	const uint8_t *b = (const uint8_t *)in;
	size_t head = 2;
	uint64_t payload;

	if (len < 2)
		return 0;
	if (b[1] & 0x80 || b[0] & 0x70 || !(b[0] & 0x80) || (b[0] & 0x0f) == OPCODE_CONTINUATION)
		die("a frame that is masked, fragmented or compressed: %02x %02x", b[0], b[1]);
	payload = b[1];
	if (payload >= 126) {
		size_t bytes = payload == 126 ? 2 : 8;

		head += bytes;
		if (len < head)
			return 0;
		payload = 0;
		for (size_t i = 2; i < head; i++)
			payload = payload << 8 | b[i];
	}
	if (payload > PAYLOAD_MAX)
		die("a frame of %" PRIu64 " bytes", payload);
	if (len - head < payload)
		return 0;

	const char *bytes = in + head;

	switch (b[0] & 0x0f) {
	case OPCODE_TEXT:
		text(c, bytes, payload, head + payload);
		break;
	case OPCODE_PING:
		if (payload > 125)
			die("a ping of %" PRIu64 " bytes", payload);
		pong(c, bytes, payload);
		break;
	case OPCODE_PONG:
		break;
	case OPCODE_CLOSE: {
		char why[160];

		snprintf(why, sizeof(why), "closed by the server with %d %.*s",
			 payload >= 2 ? (uint8_t)bytes[0] << 8 | (uint8_t)bytes[1] : 0,
			 payload > 2 ? (int)payload - 2 : 0, payload > 2 ? bytes + 2 : "");
		lose(c, why);
		break;
	}
	default:
		die("a frame of the kind %d", b[0] & 0x0f);
	}
	return head + payload;
}

static void receive(struct client *c)
{
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
		lose(c, n == 0 ? "the server hung up" : strerror(errno));
		return;
	}
	all->figures.reads++;

	size_t len = c->rest_len + (size_t)n, done = 0, used;

	do {
		used = c->state == UPGRADING ? upgraded(c, all->in + done, len - done)
					     : frame(c, all->in + done, len - done);
		done += used;
	} while (used && done < len && c->state != LOST);

	if (c->state == LOST || done == len) {
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

	(void)events;
	switch (c->state) {
	case CONNECTING:
		upgrade(c);
		break;
	case UPGRADING:
	case GREETED_NOT:
		receive(c);
		start_some(c->all);
		break;
	case READY:
		receive(c);
		break;
	case LOST:
		break;
	}
}

unsigned clients_of_topic(const struct clients *c, unsigned topic)
{
	return c->plan.count / c->plan.topics + (topic <= c->plan.count % c->plan.topics);
}

void clients_run(struct clients *c)
{
	c->figures = (struct clients_figures){.ready = c->figures.ready, .lost = c->figures.lost};
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
	}
}

void clients_free(struct clients **all)
{
	struct clients *c = *all;

	if (!c)
		return;
	for (unsigned i = 0; i < c->started; i++) {
		if (c->clients[i].watch.fd >= 0)
			close(c->clients[i].watch.fd);
		free(c->clients[i].rest);
	}
	free(c->in);
	free(c);
	*all = NULL;
}
