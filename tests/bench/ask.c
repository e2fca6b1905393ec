/*
 * ask - asks the same again and again, and tells how long the answers took. See tests/bench/README.md.
 *
 * A connection says hello once, if there is a hello, and is greeted; then it asks, round by round. It is made anew when
 * the server closes it. At a rate the turns come at even times, answered or not, and a round starts with its turn.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define READ_BYTES 65536
#define UNTIL_MAX 64
#define TURNS_MAX 64	/* rounds of one connection, before the others have their turn */
#define DEAF_BYTES 4096 /* that the kernel keeps for who does not read */
#define ROUNDS_MAX 10000000
#define LATE_NS INT64_C(10000000000) /* for the last answers */
#define REOPEN_NS INT64_C(1000000)   /* before a connection that was closed is made again */

static const char usage[] = "usage: ask --port P [--host H] [--connections N] [--hello FILE [--greeting TEXT]] --bytes "
			    "FILE [--until TEXT]\n"
			    "           [--take B] [--how answered|ahead|held|deaf] [--once] [--rate R] [--seconds S]\n"
			    "A round sends the bytes of FILE, and is answered when TEXT has come behind it, or B bytes "
			    "(1). ahead: answers\n"
			    "are not waited for; held: one round a connection; deaf: and nothing is read any more. "
			    "--once: another connection\n"
			    "for each round.\n"
			    "R rounds a second over all connections; 0: as fast as they are answered.\n";

enum how { ANSWERED, AHEAD, HELD, DEAF };

struct options {
	const char *host;
	int port;
	unsigned connections;
	struct span hello, bytes;
	const char *greeting, *until; /* NULL: any byte */
	size_t take;
	enum how how;
	bool once;
	unsigned rate_per_s;
	unsigned seconds;
};

/* CLOSED: until reopen_ns. HELLO, ASKING: `sent` bytes are out. IDLE: its next round waits for its turn. */
enum state { CLOSED, HELLO, GREETING, IDLE, ASKING, WAITING };

struct connection {
	struct watch watch;
	struct asker *asker;
	enum state state;
	size_t sent;
	size_t came;	       /* bytes of the answer */
	char carry[UNTIL_MAX]; /* the last of them */
	size_t carry_len;
	int64_t start_ns, reopen_ns;
};

struct asker {
	const struct options *options;
	int loop;
	int64_t next_turn_ns; /* with a rate */
	uint64_t rounds;
	uint64_t closed;	    /* connections that the server closed */
	uint64_t accepted, refused; /* HTTP answers: below 400, and others */
	int64_t *took_ns;
	size_t took_size;
	struct connection connections[];
};

static void ready(struct watch *w, uint32_t events);

static void add_time(struct asker *a, int64_t took_ns)
{
	if (a->rounds >= ROUNDS_MAX)
		die("more than %d rounds", ROUNDS_MAX);
	if (a->rounds == a->took_size) {
		a->took_size = MAX(a->took_size * 2, 4096);
		a->took_ns = must_alloc(a->took_ns, a->took_size * sizeof(*a->took_ns));
	}
	a->took_ns[a->rounds++] = took_ns;
}

/* By a reset: nothing of it stays in the kernel. */
static void shut(struct connection *c)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(c->watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(c->watch.fd);
	c->state = CLOSED;
	c->reopen_ns = now_ns() + REOPEN_NS;
}

static void open_anew(struct connection *c)
{
	const struct options *o = c->asker->options;

	c->watch.ready = ready;
	c->watch.fd = connect_start(o->host, o->port);
	if (o->how == DEAF)
		setsockopt(c->watch.fd, SOL_SOCKET, SO_RCVBUF, &(int){DEAF_BYTES}, sizeof(int));
	c->state = o->hello.len > 0 ? HELLO : IDLE;
	c->sent = c->came = c->carry_len = 0;
	loop_add(c->asker->loop, &c->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

/* True: all of it is out. */
static bool send_rest(struct connection *c, struct span bytes)
{
	while (c->sent < bytes.len) {
		ssize_t n = send(c->watch.fd, bytes.bytes + c->sent, bytes.len - c->sent, MSG_NOSIGNAL);

		if (n < 0)
			return false;
		c->sent += (size_t)n;
	}
	c->sent = c->came = c->carry_len = 0;
	return true;
}

/* False: it has no turn yet. */
static bool take_turn(struct connection *c)
{
	struct asker *a = c->asker;

	c->start_ns = now_ns();
	if (a->options->rate_per_s == 0)
		return true;
	if (a->next_turn_ns > c->start_ns)
		return false;
	c->start_ns = a->next_turn_ns;
	a->next_turn_ns += INT64_C(1000000000) / a->options->rate_per_s;
	return true;
}

/* As far as the socket takes bytes. */
static void go_on(struct connection *c)
{
	const struct options *o = c->asker->options;

	if (c->state == HELLO && send_rest(c, o->hello))
		c->state = GREETING;
	for (int turns = 0; turns < TURNS_MAX && (c->state == IDLE || c->state == ASKING); turns++) {
		if (c->state == IDLE && !take_turn(c))
			return;
		c->state = ASKING;
		if (!send_rest(c, o->bytes))
			return;
		if (o->how == AHEAD)
			add_time(c->asker, now_ns() - c->start_ns);
		c->state = o->how == AHEAD ? IDLE : WAITING;
	}
}

/* Whether the text has come by now; NULL: so many bytes. */
static bool has_come(struct connection *c, const char *text, size_t take, const char *bytes, size_t len)
{
	char joined[UNTIL_MAX + READ_BYTES];
	size_t keep;

	c->came += len;
	if (!text)
		return c->came >= take;
	memcpy(joined, c->carry, c->carry_len);
	memcpy(joined + c->carry_len, bytes, len);
	len += c->carry_len;
	if (memmem(joined, len, text, strlen(text)))
		return true;
	keep = MIN(len, strlen(text) - 1);
	memcpy(c->carry, joined + len - keep, keep);
	c->carry_len = keep;
	return false;
}

static void count_status(struct asker *a, const char *bytes, size_t len)
{
	static const char begin[] = "HTTP/1.1 ";

	if (len <= strlen(begin) || memcmp(bytes, begin, strlen(begin)) != 0)
		return;
	if (bytes[strlen(begin)] < '4')
		a->accepted++;
	else
		a->refused++;
}

static void answered(struct connection *c)
{
	const struct options *o = c->asker->options;

	add_time(c->asker, now_ns() - c->start_ns);
	c->state = IDLE;
	if (o->once) {
		shut(c);
		c->reopen_ns = 0;
	}
}

static void came(struct connection *c, const char *bytes, size_t len)
{
	const struct options *o = c->asker->options;

	if (c->came == 0)
		count_status(c->asker, bytes, len);
	if (c->state == GREETING) {
		if (has_come(c, o->greeting, 1, bytes, len))
			c->state = IDLE;
	} else if (c->state == WAITING && o->how == ANSWERED) {
		if (has_come(c, o->until, o->take, bytes, len))
			answered(c);
	}
}

static bool is_deaf(const struct connection *c)
{
	return c->asker->options->how == DEAF && c->state > GREETING;
}

static void ready(struct watch *w, uint32_t events)
{
	struct connection *c = (struct connection *)w;
	static char bytes[READ_BYTES];
	bool ended = events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP);

	while (c->state != CLOSED && !is_deaf(c)) {
		ssize_t n = recv(c->watch.fd, bytes, sizeof(bytes), 0);

		if (n <= 0) {
			ended = ended || n == 0 || errno != EAGAIN;
			break;
		}
		came(c, bytes, (size_t)n);
	}
	if (c->state == CLOSED)
		return;
	if (ended) {
		/* That it was refused is the answer. */
		if (c->state == WAITING)
			add_time(c->asker, now_ns() - c->start_ns);
		c->asker->closed++;
		shut(c);
		return;
	}
	go_on(c);
}

static void run(struct asker *a)
{
	const struct options *o = a->options;
	int64_t end_ns = now_ns() + o->seconds * INT64_C(1000000000);
	int64_t now;

	a->next_turn_ns = now_ns();
	while ((now = now_ns()) < end_ns) {
		for (unsigned i = 0; i < o->connections; i++) {
			struct connection *c = &a->connections[i];

			if (c->state == CLOSED && now >= c->reopen_ns)
				open_anew(c);
			else if (c->state == IDLE)
				go_on(c);
		}
		loop_turn(a->loop, 1);
	}
}

/* What has its turn and no answer yet is waited for: a server that stands still shows. */
static void wait_for_last(struct asker *a)
{
	const struct options *o = a->options;
	int64_t end_ns = now_ns(), now;
	bool waiting = true;

	if (o->rate_per_s == 0 || o->how != ANSWERED)
		return;
	for (; a->next_turn_ns < end_ns; a->next_turn_ns += INT64_C(1000000000) / o->rate_per_s)
		add_time(a, end_ns - a->next_turn_ns);
	a->next_turn_ns = INT64_MAX;
	while (waiting && (now = now_ns()) < end_ns + LATE_NS) {
		waiting = false;
		loop_turn(a->loop, 1);
		for (unsigned i = 0; i < o->connections; i++)
			waiting = waiting || a->connections[i].state == WAITING;
	}
	if (waiting)
		die("an answer did not come");
}

static struct span file_read(const char *path)
{
	FILE *f = fopen(path, "r");
	char *bytes = NULL;
	size_t len = 0;

	if (!f)
		die("%s: %s", path, strerror(errno));
	while (!feof(f)) {
		bytes = must_alloc(bytes, len + READ_BYTES);
		len += fread(bytes + len, 1, READ_BYTES, f);
		if (ferror(f))
			die("%s: %s", path, strerror(errno));
	}
	fclose(f);
	return (struct span){bytes, len};
}

static enum how how_named(const char *name)
{
	static const char *const names[] = {
		[ANSWERED] = "answered", [AHEAD] = "ahead", [HELD] = "held", [DEAF] = "deaf"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) == 0)
			return (enum how)i;
	}
	die("--how: answered, ahead, held or deaf, not '%s'", name);
}

static const char *short_text(const char *name, const char *text)
{
	if (!*text || strlen(text) > UNTIL_MAX)
		die("%s: 1 to %d bytes", name, UNTIL_MAX);
	return text;
}

static void options_read(struct options *o, int argc, char **argv)
{
	enum { HOST, PORT, CONNECTIONS, HELLO_FILE, GREETING_TEXT, BYTES, UNTIL, TAKE, HOW, ONCE, RATE, SECONDS, HELP };
	static const struct option known[] = {
		{"host", required_argument, NULL, HOST},
		{"port", required_argument, NULL, PORT},
		{"connections", required_argument, NULL, CONNECTIONS},
		{"hello", required_argument, NULL, HELLO_FILE},
		{"greeting", required_argument, NULL, GREETING_TEXT},
		{"bytes", required_argument, NULL, BYTES},
		{"until", required_argument, NULL, UNTIL},
		{"take", required_argument, NULL, TAKE},
		{"how", required_argument, NULL, HOW},
		{"once", no_argument, NULL, ONCE},
		{"rate", required_argument, NULL, RATE},
		{"seconds", required_argument, NULL, SECONDS},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	int which;

	*o = (struct options){.host = "127.0.0.1", .connections = 1, .take = 1, .seconds = 1};
	while ((which = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		switch (which) {
		case HOST:
			o->host = optarg;
			break;
		case PORT:
			o->port = (int)option_number("--port", optarg, 1, 65535);
			break;
		case CONNECTIONS:
			o->connections = (unsigned)option_number("--connections", optarg, 1, 10000);
			break;
		case HELLO_FILE:
			o->hello = file_read(optarg);
			break;
		case GREETING_TEXT:
			o->greeting = short_text("--greeting", optarg);
			break;
		case BYTES:
			o->bytes = file_read(optarg);
			break;
		case UNTIL:
			o->until = short_text("--until", optarg);
			break;
		case TAKE:
			o->take = (size_t)option_number("--take", optarg, 1, 1 << 30);
			break;
		case HOW:
			o->how = how_named(optarg);
			break;
		case ONCE:
			o->once = true;
			break;
		case RATE:
			o->rate_per_s = (unsigned)option_number("--rate", optarg, 0, 100000);
			break;
		case SECONDS:
			o->seconds = (unsigned)option_number("--seconds", optarg, 1, 600);
			break;
		case HELP:
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind < argc || !o->port || o->bytes.len == 0) {
		fputs(usage, stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct options o;

	options_read(&o, argc, argv);
	bench_start(o.connections + 100);

	struct asker *a = must_alloc(NULL, sizeof(*a) + o.connections * sizeof(a->connections[0]));

	a->options = &o;
	a->loop = loop_new();
	for (unsigned i = 0; i < o.connections; i++)
		a->connections[i].asker = a;
	run(a);
	wait_for_last(a);
	printf("rounds %" PRIu64 "\n", a->rounds);
	printf("closed %" PRIu64 "\n", a->closed);
	printf("accepted %" PRIu64 "\n", a->accepted);
	printf("refused %" PRIu64 "\n", a->refused);
	printf("p50_ms %.3f\n", (double)percentile(a->took_ns, a->rounds, 50) / 1e6);
	printf("p99_ms %.3f\n", (double)percentile(a->took_ns, a->rounds, 99) / 1e6);
	printf("max_ms %.3f\n", (double)percentile(a->took_ns, a->rounds, 100) / 1e6);
	return 0;
}
