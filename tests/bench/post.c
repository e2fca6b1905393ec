/*
 * post - publishes through the web server over keep-alive connections, tells how fast it went. See
 * tests/bench/README.md.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/poster.h"

static const char usage[] =
	"usage: post --port P [--host H] [--token T] [--connections C] [--seconds S] [--rate R]\n"
	"            [--to feedback|publish|nchan] [--topics K] [--pad B]\n"
	"For S seconds, R a second; R 0: each connection as fast as it is answered. To the diagnoses 1 ... K,\n"
	"by /ws/broadcast-feedback-update, by /ws/publish, or as nchan has it.\n";

static void options_read(struct poster_plan *plan, unsigned *seconds, int argc, char **argv)
{
	enum { HOST, PORT, TOKEN, CONNECTIONS, SECONDS, RATE, TO, TOPICS, PAD, HELP };
	static const struct option known[] = {
		{"host", required_argument, NULL, HOST},
		{"port", required_argument, NULL, PORT},
		{"token", required_argument, NULL, TOKEN},
		{"connections", required_argument, NULL, CONNECTIONS},
		{"seconds", required_argument, NULL, SECONDS},
		{"rate", required_argument, NULL, RATE},
		{"to", required_argument, NULL, TO},
		{"topics", required_argument, NULL, TOPICS},
		{"pad", required_argument, NULL, PAD},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	int which;

	while ((which = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		switch (which) {
		case HOST:
			plan->host = optarg;
			break;
		case PORT:
			plan->port = (int)option_number("--port", optarg, 1, 65535);
			break;
		case TOKEN:
			plan->token = optarg;
			break;
		case CONNECTIONS:
			plan->connections = (unsigned)option_number("--connections", optarg, 1, 1024);
			break;
		case SECONDS:
			*seconds = (unsigned)option_number("--seconds", optarg, 1, 600);
			break;
		case RATE:
			plan->rate_per_s = (unsigned)option_number("--rate", optarg, 0, 100000);
			break;
		case TO:
			plan->to = post_to(optarg);
			break;
		case TOPICS:
			plan->topics = (unsigned)option_number("--topics", optarg, 1, 10000);
			break;
		case PAD:
			plan->pad_bytes = (unsigned)option_number("--pad", optarg, 0, 20000);
			break;
		case HELP:
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind < argc || !plan->port) {
		fputs(usage, stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct poster_plan plan = {.host = "127.0.0.1", .to = POST_FEEDBACK, .topics = 1, .connections = 1};
	unsigned seconds = 1;

	options_read(&plan, &seconds, argc, argv);
	bench_start(plan.connections + 100);

	int loop = loop_new();
	struct poster *p = poster_new(loop, &plan);
	int64_t start_ns = now_ns(), end_ns = start_ns + seconds * INT64_C(1000000000);

	poster_run(p, UINT64_MAX);
	while (now_ns() < end_ns)
		loop_turn(loop, 10);

	/* Answers that come after the time count for nothing, but are waited for. */
	uint64_t answered = poster_figures(p)->answered;
	double elapsed_s = (double)(now_ns() - start_ns) / 1e9;

	poster_stop(p);
	for (end_ns = now_ns() + INT64_C(10000000000); !poster_idle(p);) {
		loop_turn(loop, 10);
		if (now_ns() > end_ns)
			die("10 s after the last POST not all are answered");
	}

	uint64_t count = poster_last(p);
	int64_t *took_ns = must_alloc(NULL, count * sizeof(*took_ns));

	for (uint64_t i = 0; i < count; i++)
		took_ns[i] = poster_answer_ns(p, i + 1) - poster_start_ns(p, i + 1);
	printf("answered %" PRIu64 "\n", answered);
	printf("rate_per_s %.0f\n", (double)answered / elapsed_s);
	printf("p50_ms %.3f\n", (double)percentile(took_ns, count, 50) / 1e6);
	printf("p99_ms %.3f\n", (double)percentile(took_ns, count, 99) / 1e6);
	poster_print_statuses(p);
	free(took_ns);
	poster_free(&p);
	close(loop);
	return 0;
}
