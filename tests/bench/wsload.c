/*
 * wsload - opens WebSocket clients, has messages posted, tells what came when. See tests/bench/README.md.
 *
 *	ready N			stdout, when every client has its connect message
 *	go			stdin: one run of --messages; without --stay there is one at once
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
	"usage: wsload --port P [--host H] [--token T] [--clients N] [--topics K] [--parallel N]\n"
	"              [--messages M] [--timeout S] [--stay]\n"
	"              [--post-port P [--post-token T] [--rate R] [--connections C] [--pad B] [--one-at-a-time]]\n"
	"Clients listen to the diagnoses 1 ... K in turn. A run ends when each has got M broadcasts: posted by\n"
	"somebody else, or with --post-port by this program, R a second (0: as fast as they are answered).\n"
	"--stay: a run for each line `go` on stdin, until that ends. S: of connecting, and of a run.\n";

struct options {
	struct clients_plan clients;
	struct poster_plan poster; /* port 0: nothing is posted here */
	unsigned messages;	   /* to each client, a run */
	unsigned timeout_s;
	bool stay;
};

struct run {
	const struct options *options;
	struct clients *clients;
	struct poster *poster; /* NULL: somebody else posts */
	uint64_t base;	       /* number of the last POST before this run */
	unsigned *arrived;     /* [number - base - 1]: how many clients have it */
	int64_t *latency_ns;   /* [0 … complete): from the POST's start to its last client */
	size_t complete;
	int64_t start_ns;
};

static unsigned topic_of(const struct run *r, uint64_t number)
{
	return (unsigned)(number % r->options->clients.topics) + 1;
}

static void received(void *context, int64_t number)
{
	struct run *r = context;
	uint64_t messages = (uint64_t)r->options->messages * r->options->clients.topics;

	if (!r->poster)
		return;
	if (!r->arrived || number <= (int64_t)r->base || number > (int64_t)(r->base + messages))
		die("feedback %" PRId64 " came, which this run did not post", number);

	uint64_t i = (uint64_t)number - r->base - 1;

	if (++r->arrived[i] < clients_of_topic(r->clients, topic_of(r, (uint64_t)number)))
		return;
	r->latency_ns[r->complete++] = now_ns() - poster_start_ns(r->poster, (uint64_t)number);
	if (r->options->poster.one_at_a_time)
		poster_release(r->poster);
}

static void print_figures(struct run *r)
{
	const struct clients_figures *f = clients_figures(r->clients);

	printf("deliveries %" PRIu64 "\n", f->received);
	printf("elapsed_s %.3f\n", (double)(f->last_ns - r->start_ns) / 1e9);
	printf("first_s %.6f\n", (double)(f->first_ns - r->start_ns) / 1e9);
	printf("frame_bytes %.0f\n", (double)f->bytes / (double)f->received);
	printf("reads %" PRIu64 "\n", f->reads);
	if (r->poster) {
		printf("p50_ms %.3f\n", (double)percentile(r->latency_ns, r->complete, 50) / 1e6);
		printf("p99_ms %.3f\n", (double)percentile(r->latency_ns, r->complete, 99) / 1e6);
		printf("max_ms %.3f\n", (double)percentile(r->latency_ns, r->complete, 100) / 1e6);
		poster_print_statuses(r->poster);
	}
	puts("done");
}

static void run(struct run *r, int loop)
{
	const struct options *o = r->options;
	uint64_t posts = (uint64_t)o->messages * o->clients.topics;
	uint64_t all = (uint64_t)o->messages * o->clients.count;
	int64_t deadline_ns = now_ns() + o->timeout_s * INT64_C(1000000000);

	clients_run(r->clients);
	r->start_ns = now_ns();
	if (r->poster) {
		r->base = poster_last(r->poster);
		r->complete = 0;
		r->arrived = must_alloc(NULL, posts * sizeof(*r->arrived));
		r->latency_ns = must_alloc(NULL, posts * sizeof(*r->latency_ns));
		poster_run(r->poster, posts);
	}
	while (clients_figures(r->clients)->received < all || (r->poster && !poster_idle(r->poster))) {
		loop_turn(loop, 200);
		if (now_ns() > deadline_ns) {
			if (r->poster)
				poster_print_statuses(r->poster);
			die("after %u s %" PRIu64 " of %" PRIu64 " deliveries", o->timeout_s,
			    clients_figures(r->clients)->received, all);
		}
		if (clients_figures(r->clients)->lost)
			die("clients were lost");
	}
	clients_check_equal(r->clients);
	print_figures(r);
	free(r->arrived);
	free(r->latency_ns);
	r->arrived = NULL;
	r->latency_ns = NULL;
}

struct orders {
	struct watch watch;
	bool go;
	bool end;
};

static void order(struct watch *w, uint32_t events)
{
	struct orders *o = (struct orders *)w;
	char line[64];
	ssize_t n = read(w->fd, line, sizeof(line));

	(void)events;
	if (n == 3 && memcmp(line, "go\n", 3) == 0)
		o->go = true;
	else if (n > 0)
		die("`go` was expected on stdin");
	else
		o->end = true;
}

static void options_read(struct options *o, int argc, char **argv)
{
	enum { HOST, PORT, TOKEN, CLIENTS, TOPICS, PARALLEL, MESSAGES, TIMEOUT, STAY, POST_PORT, POST_TOKEN, RATE,
	       CONNECTIONS, PAD, ONE_AT_A_TIME, HELP };
	static const struct option known[] = {
		{"host", required_argument, NULL, HOST},
		{"port", required_argument, NULL, PORT},
		{"token", required_argument, NULL, TOKEN},
		{"clients", required_argument, NULL, CLIENTS},
		{"topics", required_argument, NULL, TOPICS},
		{"parallel", required_argument, NULL, PARALLEL},
		{"messages", required_argument, NULL, MESSAGES},
		{"timeout", required_argument, NULL, TIMEOUT},
		{"stay", no_argument, NULL, STAY},
		{"post-port", required_argument, NULL, POST_PORT},
		{"post-token", required_argument, NULL, POST_TOKEN},
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
		case RATE:
			o->poster.rate_per_s = (unsigned)option_number("--rate", optarg, 0, 100000);
			break;
		case CONNECTIONS:
			o->poster.connections = (unsigned)option_number("--connections", optarg, 1, 128);
			break;
		case PAD:
			o->poster.pad_bytes = (unsigned)option_number("--pad", optarg, 0, 4000);
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
	if (optind < argc || !o->clients.port || o->clients.topics > o->clients.count) {
		fputs(usage, stderr);
		exit(2);
	}
	o->poster.host = o->clients.host;
	o->poster.topics = o->clients.topics;
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

	int64_t deadline_ns = now_ns() + o.timeout_s * INT64_C(1000000000);

	while (clients_figures(r.clients)->ready < o.clients.count) {
		loop_turn(loop, 200);
		if (clients_figures(r.clients)->lost)
			die("clients were lost");
		if (now_ns() > deadline_ns)
			die("after %u s %u of %u clients are connected", o.timeout_s, clients_figures(r.clients)->ready,
			    o.clients.count);
	}
	printf("ready %u\n", o.clients.count);

	if (o.stay) {
		loop_add(loop, &orders.watch, EPOLLIN);
		while (!orders.end) {
			loop_turn(loop, -1);
			if (clients_figures(r.clients)->lost)
				die("clients were lost");
			if (orders.go)
				run(&r, loop);
			orders.go = false;
		}
	} else {
		run(&r, loop);
	}
	clients_free(&r.clients);
	poster_free(&r.poster);
	close(loop);
	return 0;
}
