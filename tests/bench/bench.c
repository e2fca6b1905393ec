#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void *must_alloc(void *p, size_t bytes)
{
	p = p ? realloc(p, bytes) : calloc(1, bytes);
	if (!p)
		die("no memory");
	return p;
}

int64_t option_number(const char *name, const char *text, int64_t min, int64_t max)
{
	char *end = NULL;

	errno = 0;
	long long value = strtoll(text, &end, 10);

	if (errno || end == text || *end || value < min || value > max)
		die("%s: a number from %" PRId64 " to %" PRId64 ", not '%s'", name, min, max, text);
	return value;
}

void bench_start(size_t files)
{
	struct rlimit limit;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (files > FILES_MAX)
		die("%zu connections: more than %d files are not opened", files, FILES_MAX);
	if (getrlimit(RLIMIT_NOFILE, &limit))
		die("getrlimit: %s", strerror(errno));
	if (limit.rlim_cur >= files)
		return;
	if (limit.rlim_max < files)
		die("%zu files are needed, the limit is %ju: ulimit -n", files, (uintmax_t)limit.rlim_max);
	limit.rlim_cur = files;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("setrlimit: %s", strerror(errno));
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int64_t percentile(int64_t *values, size_t count, double percent)
{
	if (count == 0)
		return 0;
	qsort(values, count, sizeof(*values), compare);

	size_t rank = (size_t)((double)count * percent / 100.0 + 0.9999999);

	return values[rank == 0 ? 0 : MIN(rank, count) - 1];
}

int loop_new(void)
{
	int loop = epoll_create1(EPOLL_CLOEXEC);

	if (loop < 0)
		die("epoll_create1: %s", strerror(errno));
	return loop;
}

static void control(int loop, int how, struct watch *w, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = w};

	if (epoll_ctl(loop, how, w->fd, &e))
		die("epoll_ctl: %s", strerror(errno));
}

void loop_add(int loop, struct watch *w, uint32_t events)
{
	control(loop, EPOLL_CTL_ADD, w, events);
}

void loop_change(int loop, struct watch *w, uint32_t events)
{
	control(loop, EPOLL_CTL_MOD, w, events);
}

void loop_turn(int loop, int timeout_ms)
{
	struct epoll_event events[256];
	int n = epoll_wait(loop, events, ARRAY_LEN(events), timeout_ms);

	if (n < 0 && errno != EINTR)
		die("epoll_wait: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		struct watch *w = events[i].data.ptr;

		w->ready(w, events[i].events);
	}
}

int connect_start(const char *host, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int one = 1;

	if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &to.sin_addr) != 1)
		die("--host: an IPv4 address, not '%s'", host);

	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
		die("%s:%d: %s", host, port, strerror(errno));
	return fd;
}
