/*
 * load - opens clients, has messages posted, tells what came when. See tests/bench/README.md.
 *
 *	ready N S		stdout, when every client is greeted: S seconds after the first began
 *	go			stdin: one run of --messages or --seconds; without --stay there is one at once
 *	cut			stdin: all connections are closed, and --messages posted meanwhile
 *	resume			stdin, after cut: all connect again at once, with their cursors
 *	… figures, then `done`	stdout, when every client has got every message of the run
 *
 * End of stdin, or of the one run, ends it.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/clients.h"
#include "tests/bench/poster.h"

static const char usage[] =
	"usage: load --port P [--host H] [--token T | --tokens FILE]\n"
	"            [--transport websocket|sse|poll|fastapi|nchan-websocket|nchan-sse|nchan-poll] [--deflate] [--device]\n"
	"            [--clients N] [--topics K]\n"
	"            [--parallel N]\n"
	"            [--messages M | --seconds S] [--timeout S] [--stay]\n"
	"            [--post-port P [--post-token T] [--to feedback|publish|nchan] [--rate R] [--connections C] [--pad "
	"B]\n"
	"             [--one-at-a-time]]\n"
	"Clients listen to the diagnoses 1 ... K in turn; FILE has a token in each line, one for each client. A run\n"
	"ends when each has got M broadcasts: posted by somebody else, or with --post-port by this program, R a\n"
	"second (0: as fast as they are answered). --seconds: so long is posted, then all of it must come.\n"
	"--stay: a run for each line `go` on stdin, until that ends; `cut` and `resume` likewise, for which it must "
	"post\n"
	"itself. S: of connecting, and of a run.\n";

struct options {
	struct clients_plan clients;
	struct poster_plan poster; /* port 0: nothing is posted here */
	unsigned messages;	   /* to each client, a run */
	unsigned seconds;	   /* 0: messages count */
	unsigned timeout_s;
	const char *tokens_file;
	bool stay;
};

#define EACH_US_MAX 1000000

struct run {
	const struct options *options;
	struct clients *clients;
	struct poster *poster; /* NULL: somebody else posts */
	uint64_t base;	       /* number of the last POST before this run */
	unsigned *arrived;     /* [number - base - 1]: how many clients have it */
	int64_t *latency_ns;   /* [0 … complete): from the POST's start to its last client */
	size_t posts_size;     /* of both */
	uint32_t *each_us; /* [µs, at most EACH_US_MAX]: how many deliveries took so long from their POST's start */
	size_t complete;
	int64_t start_ns;
};

static unsigned topic_of(const struct run *r, uint64_t number)
{
	return (unsigned)(number % r->options->clients.topics) + 1;
}

/* Room for the POSTs up to `count`, those that are new not arrived. */
static void make_room(struct run *r, size_t count)
{
	size_t size = MAX(count, r->posts_size * 2);

	if (count <= r->posts_size)
		return;
	r->arrived = must_alloc(r->arrived, size * sizeof(*r->arrived));
	r->latency_ns = must_alloc(r->latency_ns, size * sizeof(*r->latency_ns));
	memset(r->arrived + r->posts_size, 0, (size - r->posts_size) * sizeof(*r->arrived));
	r->posts_size = size;
}

static void received(void *context, int64_t number)
{
	struct run *r = context;

	if (!r->poster)
		return;
	if (!r->arrived || number <= (int64_t)r->base || number > (int64_t)poster_last(r->poster))
		die("feedback %" PRId64 " came, which this run did not post", number);
	make_room(r, (size_t)number - r->base);

	uint64_t i = (uint64_t)number - r->base - 1;
	unsigned wanted = clients_of_topic(r->clients, topic_of(r, (uint64_t)number));

	int64_t took_ns = now_ns() - poster_start_ns(r->poster, (uint64_t)number);

	r->each_us[MIN(took_ns / 1000, EACH_US_MAX)]++;
	if (++r->arrived[i] > wanted)
		die("feedback %" PRId64 " came more often than there are clients", number);
	if (r->arrived[i] < wanted)
		return;
	r->latency_ns[r->complete++] = took_ns;
	if (r->options->poster.one_at_a_time)
		poster_release(r->poster);
}

/* The time that so many percent of all deliveries took at most. */
static double each_ms(const struct run *r, uint64_t deliveries, unsigned percent)
{
	uint64_t sum = 0;
	size_t us = 0;

	while (us < EACH_US_MAX && (sum += r->each_us[us]) * 100 < deliveries * percent)
		us++;
	return (double)us / 1000;
}

static void print_figures(struct run *r)
{
	const struct clients_figures *f = clients_figures(r->clients);

	printf("deliveries %" PRIu64 "\n", f->received);
	printf("elapsed_s %.3f\n", (double)(f->last_ns - r->start_ns) / 1e9);
	printf("first_s %.6f\n", (double)(f->first_ns - r->start_ns) / 1e9);
	printf("frame_bytes %.0f\n", (double)f->bytes / (double)f->received);
	printf("reads %" PRIu64 "\n", f->reads);
	printf("answers %" PRIu64 "\n", f->answers);
	printf("reopened %" PRIu64 "\n", f->reopened);
	if (r->poster) {
		printf("p50_ms %.3f\n", (double)percentile(r->latency_ns, r->complete, 50) / 1e6);
		printf("p99_ms %.3f\n", (double)percentile(r->latency_ns, r->complete, 99) / 1e6);
		printf("max_ms %.3f\n", (double)percentile(r->latency_ns, r->complete, 100) / 1e6);
		printf("each_p50_ms %.3f\n", each_ms(r, f->received, 50));
		printf("each_p99_ms %.3f\n", each_ms(r, f->received, 99));
		poster_print_statuses(r->poster);
	}
	puts("done");
}

static void run_begin(struct run *r)
{
	const struct options *o = r->options;
	uint64_t posts = o->seconds ? UINT64_MAX : (uint64_t)o->messages * o->clients.topics;

	if (!r->poster)
		return;
	r->base = poster_last(r->poster);
	r->complete = 0;
	make_room(r, o->seconds ? 65536 : posts);
	r->each_us = must_alloc(r->each_us, (EACH_US_MAX + 1) * sizeof(*r->each_us));
	memset(r->each_us, 0, (EACH_US_MAX + 1) * sizeof(*r->each_us));
	poster_run(r->poster, posts);
}

static void run_end(struct run *r)
{
	free(r->arrived);
	free(r->latency_ns);
	free(r->each_us);
	r->each_us = NULL;
	r->arrived = NULL;
	r->latency_ns = NULL;
	r->posts_size = 0;
}

/* How many broadcasts the clients get in this run; UINT64_MAX: not known yet. */
static uint64_t deliveries_wanted(const struct run *r)
{
	const struct options *o = r->options;
	uint64_t wanted = 0;

	if (!o->seconds)
		return (uint64_t)o->messages * o->clients.count;
	if (!poster_idle(r->poster))
		return UINT64_MAX;
	for (uint64_t number = r->base + 1; number <= poster_last(r->poster); number++)
		wanted += clients_of_topic(r->clients, topic_of(r, number));
	return wanted;
}

/* Until every client is there and has got every message: the same, in the same order. */
static void run_wait(struct run *r, int loop)
{
	const struct options *o = r->options;
	const struct clients_figures *f = clients_figures(r->clients);
	int64_t stop_ns = now_ns() + o->seconds * INT64_C(1000000000);
	int64_t deadline_ns = stop_ns + o->timeout_s * INT64_C(1000000000);
	uint64_t all = deliveries_wanted(r);

	while (f->received < all || f->ready < o->clients.count || (r->poster && !poster_idle(r->poster))) {
		loop_turn(loop, 20);
		clients_retry(r->clients);
		if (all == UINT64_MAX && now_ns() > stop_ns) {
			poster_stop(r->poster);
			all = deliveries_wanted(r);
		}
		if (now_ns() > deadline_ns) {
			if (r->poster)
				poster_print_statuses(r->poster);
			die("%u s too late there are %" PRIu64 " of %" PRIu64 " deliveries, %u of %u clients",
			    o->timeout_s, f->received, all, f->ready, o->clients.count);
		}
		if (f->lost)
			die("clients were lost");
		if (r->poster && poster_figures(r->poster)->failed) {
			poster_print_statuses(r->poster);
			die("a POST was not accepted");
		}
	}
	clients_check_equal(r->clients);
}

static void run(struct run *r, int loop)
{
	clients_run(r->clients);
	r->start_ns = now_ns();
	run_begin(r);
	run_wait(r, loop);
	print_figures(r);
	run_end(r);
}

static void cut(struct run *r, int loop)
{
	if (!r->poster)
		die("cut is for a program that posts itself");
	clients_cut(r->clients);
	run_begin(r);
	while (!poster_idle(r->poster))
		loop_turn(loop, 20);
	poster_print_statuses(r->poster);
	puts("done");
}

static void resume(struct run *r, int loop)
{
	const struct clients_figures *f = clients_figures(r->clients);

	r->start_ns = now_ns();
	clients_resume(r->clients);
	run_wait(r, loop);
	printf("greeted_s %.3f\n", (double)(f->ready_ns - r->start_ns) / 1e9);
	printf("live_s %.3f\n", (double)(MAX(f->ready_ns, f->last_ns) - r->start_ns) / 1e9);
	printf("refused %" PRIu64 "\n", f->refused);
	puts("done");
	run_end(r);
}

struct orders {
	struct watch watch;
	void (*todo)(struct run *r, int loop); /* NULL: nothing */
	bool end;
};

static void order(struct watch *w, uint32_t events)
{
	static const struct {
		const char *line;
		void (*todo)(struct run *r, int loop);
	} known[] = {{"go\n", run}, {"cut\n", cut}, {"resume\n", resume}};
	struct orders *o = (struct orders *)w;
	char line[64];
	ssize_t n = read(w->fd, line, sizeof(line));

	(void)events;
	o->end = n <= 0;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (n == (ssize_t)strlen(known[i].line) && memcmp(line, known[i].line, (size_t)n) == 0)
			o->todo = known[i].todo;
	}
	if (!o->end && !o->todo)
		die("`go`, `cut` or `resume` was expected on stdin");
}

static enum wire_kind transport(const char *name)
{
	static const char *const names[] = {[WIRE_WEBSOCKET] = "websocket",
					    [WIRE_SSE] = "sse",
					    [WIRE_POLL] = "poll",
					    [WIRE_FASTAPI] = "fastapi",
					    [WIRE_NCHAN_WEBSOCKET] = "nchan-websocket",
					    [WIRE_NCHAN_SSE] = "nchan-sse",
					    [WIRE_NCHAN_POLL] = "nchan-poll"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) == 0)
			return (enum wire_kind)i;
	}
	die("--transport: there is no '%s'", name);
}

/* The lines of a file, for as long as the program lives. */
static char **tokens_read(const char *path, unsigned count)
{
	char **tokens = must_alloc(NULL, count * sizeof(*tokens));
	FILE *f = fopen(path, "r");

	if (!f)
		die("%s: %s", path, strerror(errno));
	for (unsigned i = 0; i < count; i++) {
		size_t size = 0;
		ssize_t len = getline(&tokens[i], &size, f);

		if (len <= 1)
			die("%s has %u tokens, for %u clients", path, i, count);
		tokens[i][strcspn(tokens[i], "\n")] = '\0';
	}
	fclose(f);
	return tokens;
}

static void options_read(struct options *o, int argc, char **argv)
{
	enum {
		HOST,
		PORT,
		TOKEN,
		TOKENS,
		TRANSPORT,
		DEFLATE,
		DEVICE,
		CLIENTS,
		TOPICS,
		PARALLEL,
		MESSAGES,
		SECONDS,
		TIMEOUT,
		STAY,
		POST_PORT,
		POST_TOKEN,
		TO,
		RATE,
		CONNECTIONS,
		PAD,
		ONE_AT_A_TIME,
		HELP
	};
	static const struct option known[] = {
		{"host", required_argument, NULL, HOST},
		{"port", required_argument, NULL, PORT},
		{"token", required_argument, NULL, TOKEN},
		{"tokens", required_argument, NULL, TOKENS},
		{"transport", required_argument, NULL, TRANSPORT},
		{"deflate", no_argument, NULL, DEFLATE},
		{"device", no_argument, NULL, DEVICE},
		{"clients", required_argument, NULL, CLIENTS},
		{"topics", required_argument, NULL, TOPICS},
		{"parallel", required_argument, NULL, PARALLEL},
		{"messages", required_argument, NULL, MESSAGES},
		{"seconds", required_argument, NULL, SECONDS},
		{"timeout", required_argument, NULL, TIMEOUT},
		{"stay", no_argument, NULL, STAY},
		{"post-port", required_argument, NULL, POST_PORT},
		{"post-token", required_argument, NULL, POST_TOKEN},
		{"to", required_argument, NULL, TO},
		{"rate", required_argument, NULL, RATE},
		{"connections", required_argument, NULL, CONNECTIONS},
		{"pad", required_argument, NULL, PAD},
		{"one-at-a-time", no_argument, NULL, ONE_AT_A_TIME},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	int which;

	*o = (struct options){
		.clients = {.host = "127.0.0.1", .count = 100, .topics = 1, .parallel = 200},
		.poster = {.to = POST_FEEDBACK, .connections = 4},
		.messages = 1,
		.timeout_s = 60,
	};
	while ((which = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		switch (which) {
		case HOST:
			o->clients.host = optarg;
			break;
		case PORT:
			o->clients.port = (int)option_number("--port", optarg, 1, 65535);
			break;
		case TOKEN:
			o->clients.token = optarg;
			break;
		case TOKENS:
			o->tokens_file = optarg;
			break;
		case DEFLATE:
			o->clients.deflate = true;
			break;
		case DEVICE:
			o->clients.device = true;
			break;
		case TRANSPORT:
			o->clients.kind = transport(optarg);
			break;
		case CLIENTS:
			o->clients.count = (unsigned)option_number("--clients", optarg, 1, FILES_MAX - 200);
			break;
		case TOPICS:
			o->clients.topics = (unsigned)option_number("--topics", optarg, 1, 10000);
			break;
		case PARALLEL:
			o->clients.parallel = (unsigned)option_number("--parallel", optarg, 1, 1000);
			break;
		case MESSAGES:
			o->messages = (unsigned)option_number("--messages", optarg, 1, 1000000);
			break;
		case SECONDS:
			o->seconds = (unsigned)option_number("--seconds", optarg, 1, 600);
			break;
		case TIMEOUT:
			o->timeout_s = (unsigned)option_number("--timeout", optarg, 1, 3600);
			break;
		case STAY:
			o->stay = true;
			break;
		case POST_PORT:
			o->poster.port = (int)option_number("--post-port", optarg, 1, 65535);
			break;
		case POST_TOKEN:
			o->poster.token = optarg;
			break;
		case TO:
			o->poster.to = post_to(optarg);
			break;
		case RATE:
			o->poster.rate_per_s = (unsigned)option_number("--rate", optarg, 0, 100000);
			break;
		case CONNECTIONS:
			o->poster.connections = (unsigned)option_number("--connections", optarg, 1, 128);
			break;
		case PAD:
			o->poster.pad_bytes = (unsigned)option_number("--pad", optarg, 0, 20000);
			break;
		case ONE_AT_A_TIME:
			o->poster.one_at_a_time = true;
			break;
		case HELP:
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind < argc || !o->clients.port || o->clients.topics > o->clients.count ||
	    (o->seconds && !o->poster.port)) {
		fputs(usage, stderr);
		exit(2);
	}
	o->poster.host = o->clients.host;
	o->poster.topics = o->clients.topics;
	if (o->tokens_file)
		o->clients.tokens = tokens_read(o->tokens_file, o->clients.count);
}

int main(int argc, char **argv)
{
	struct options o;
	struct orders orders = {.watch = {.ready = order, .fd = STDIN_FILENO}};

	options_read(&o, argc, argv);
	bench_start(o.clients.count + 200);

	struct run r = {.options = &o};
	int loop = loop_new();

	o.clients.received = received;
	o.clients.context = &r;
	if (o.poster.port)
		r.poster = poster_new(loop, &o.poster);
	r.clients = clients_new(loop, &o.clients);

	int64_t start_ns = now_ns(), deadline_ns = start_ns + o.timeout_s * INT64_C(1000000000);

	while (clients_figures(r.clients)->ready < o.clients.count) {
		loop_turn(loop, 200);
		if (clients_figures(r.clients)->lost)
			die("clients were lost");
		if (now_ns() > deadline_ns)
			die("after %u s %u of %u clients are connected", o.timeout_s, clients_figures(r.clients)->ready,
			    o.clients.count);
	}
	printf("ready %u %.3f\n", o.clients.count, (double)(now_ns() - start_ns) / 1e9);

	if (o.stay) {
		loop_add(loop, &orders.watch, EPOLLIN);
		while (!orders.end) {
			loop_turn(loop, -1);
			if (clients_figures(r.clients)->lost)
				die("clients were lost");
			if (orders.todo)
				orders.todo(&r, loop);
			orders.todo = NULL;
		}
	} else {
		run(&r, loop);
	}
	clients_free(&r.clients);
	poster_free(&r.poster);
	close(loop);
	return 0;
}
