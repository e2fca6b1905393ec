#include "tests/bench/poster.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define REPLY_MAX 16384 /* bytes; our replies are below 1 KiB */
#define REQUEST_MAX 65536
#define TURN_NS(p) (INT64_C(1000000000) / (p)->plan.rate_per_s)

struct connection {
	struct watch watch;
	struct poster *poster;
	uint64_t number; /* of the POST under way; 0: idle */
	size_t reply_len;
	char reply[REPLY_MAX + 1];
};

struct times {
	int64_t start_ns;
	int64_t answer_ns;
};

struct poster {
	struct watch timer; /* fd -1 without a rate */
	struct poster_plan plan;
	struct poster_figures figures;
	int loop;
	uint64_t to_send;     /* of this run */
	uint64_t under_way;   /* sent, not answered */
	bool held;	      /* one at a time, and the newest is not released */
	int64_t next_turn_ns; /* with a rate */
	uint64_t last;	      /* number */
	struct times *times;  /* [number] */
	size_t times_size;
	char *pad;
	unsigned idle_first, idle_count;
	struct connection *
		*idle; /* a ring: who has been idle for longest is next, before the server closes its connection */
	struct connection connections[];
};

static void answer(struct watch *w, uint32_t events);
static void send_due(struct poster *p);

static void connection_open(struct connection *c)
{
	c->watch.fd = connect_start(c->poster->plan.host, c->poster->plan.port);

	struct pollfd connected = {.fd = c->watch.fd, .events = POLLOUT};

	/* Over loopback this is at once. */
	if (poll(&connected, 1, 1000) != 1 || connected.revents != POLLOUT)
		die("cannot connect to %s:%d", c->poster->plan.host, c->poster->plan.port);
	loop_add(c->poster->loop, &c->watch, EPOLLIN);
}

static void turn(struct watch *w, uint32_t events)
{
	struct poster *p = (struct poster *)w;
	uint64_t expired;

	(void)events;
	if (read(w->fd, &expired, sizeof(expired)) < 0)
		return;
	send_due(p);
}

enum post_to post_to(const char *name)
{
	static const char *const names[] = {
		[POST_FEEDBACK] = "feedback", [POST_PUBLISH] = "publish", [POST_NCHAN] = "nchan"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) == 0)
			return (enum post_to)i;
	}
	die("--to: feedback, publish or nchan, not '%s'", name);
}

struct poster *poster_new(int loop, const struct poster_plan *plan)
{
	struct poster *p = must_alloc(NULL, sizeof(*p) + plan->connections * sizeof(p->connections[0]));

	p->plan = *plan;
	p->loop = loop;
	p->pad = must_alloc(NULL, plan->pad_bytes + 1);
	for (unsigned i = 0, random = 1; i < plan->pad_bytes; i++) {
		random = random * 1103515245 + 12345;
		p->pad[i] = (char)('a' + (random >> 16) % 16);
	}
	p->idle = must_alloc(NULL, plan->connections * sizeof(struct connection *));
	for (unsigned i = 0; i < plan->connections; i++) {
		struct connection *c = &p->connections[i];

		c->poster = p;
		c->watch.ready = answer;
		c->watch.fd = -1; /* opened by its first POST */
		p->idle[p->idle_count++] = c;
	}
	p->timer.fd = -1;
	if (plan->rate_per_s) {
		p->timer.ready = turn;
		p->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
		if (p->timer.fd < 0)
			die("timerfd_create: %s", strerror(errno));
		loop_add(loop, &p->timer, EPOLLIN);
	}
	return p;
}

static void send_one(struct connection *c, int64_t start_ns)
{
	struct poster *p = c->poster;
	const struct poster_plan *plan = &p->plan;
	char body[REQUEST_MAX], request[REQUEST_MAX];
	uint64_t number = ++p->last;
	unsigned topic = (unsigned)(number % plan->topics) + 1;
	char path[64] = "/ws/broadcast-feedback-update";
	int body_len = 0;

	switch (plan->to) {
	case POST_NCHAN:
		snprintf(path, sizeof(path), "/publish/%u", topic);
		/* fall through */
	case POST_FEEDBACK:
		body_len = snprintf(body, sizeof(body),
				    "{\"diagnosis_id\":%u,\"feedback_id\":%" PRIu64
				    ",\"rating\":5,\"effectiveness\":0.5,\"comment\":\"%s\"}",
				    topic, number, p->pad);
		break;
	case POST_PUBLISH:
		strcpy(path, "/ws/publish");
		body_len = snprintf(body, sizeof(body),
				    "{\"topic\":\"diagnosis/%u\",\"type\":\"bench\",\"data\":{\"feedback_id\":%" PRIu64
				    ",\"text\":\"%s\"}}",
				    topic, number, p->pad);
		break;
	}

	int len = snprintf(request, sizeof(request),
			   "POST %s HTTP/1.1\r\nHost: %s:%d\r\n%s%s%sContent-Type: application/json\r\n"
			   "Content-Length: %d\r\n\r\n%s",
			   path, plan->host, plan->port, plan->token ? "Authorization: Bearer " : "",
			   plan->token ? plan->token : "", plan->token ? "\r\n" : "", body_len, body);

	if (body_len < 0 || (size_t)body_len >= sizeof(body) || len < 0 || (size_t)len >= sizeof(request))
		die("a body or a token that is too long");
	if (number >= p->times_size) {
		p->times_size = p->times_size ? p->times_size * 2 : 65536;
		p->times = must_alloc(p->times, p->times_size * sizeof(*p->times));
	}
	p->times[number] = (struct times){.start_ns = start_ns};
	c->number = number;
	c->reply_len = 0;
	p->to_send--;
	p->under_way++;
	p->held = plan->one_at_a_time;
	if (c->watch.fd < 0)
		connection_open(c);
	if (send(c->watch.fd, request, (size_t)len, MSG_NOSIGNAL) != len)
		die("cannot send a POST: %s", strerror(errno));
}

static void send_due(struct poster *p)
{
	int64_t now = now_ns();

	while (p->to_send && p->idle_count && !p->held) {
		int64_t start_ns = now;

		if (p->plan.rate_per_s) {
			if (p->next_turn_ns > now)
				break;
			if (!p->plan.one_at_a_time)
				start_ns = p->next_turn_ns;
			/* One at a time, turns that were missed are not made up for. */
			while (p->next_turn_ns <= now) {
				p->next_turn_ns += TURN_NS(p);
				if (!p->plan.one_at_a_time)
					break;
			}
		}
		struct connection *c = p->idle[p->idle_first];

		p->idle_first = (p->idle_first + 1) % p->plan.connections;
		p->idle_count--;
		send_one(c, start_ns);
	}
	if (p->plan.rate_per_s && p->to_send && p->idle_count && !p->held) {
		struct itimerspec at = {.it_value.tv_sec = p->next_turn_ns / 1000000000,
					.it_value.tv_nsec = p->next_turn_ns % 1000000000};

		timerfd_settime(p->timer.fd, TFD_TIMER_ABSTIME, &at, NULL);
	}
}

/* The status of a whole reply in `c`; 0: not all here yet. `closes`: the server closes after it. */
static unsigned reply_status(struct connection *c, bool *closes)
{
	c->reply[c->reply_len] = '\0';

	char *end = strstr(c->reply, "\r\n\r\n");

	if (!end || strncmp(c->reply, "HTTP/1.1 ", 9) != 0)
		return 0;
	*closes = false;

	size_t have = c->reply_len - (size_t)(end + 4 - c->reply), want = 0;
	bool chunked = false;

	for (const char *line = strstr(c->reply, "\r\n") + 2; line < end; line = strstr(line, "\r\n") + 2) {
		if (strncasecmp(line, "Content-Length:", 15) == 0)
			want = strtoul(line + 15, NULL, 10);
		else if (strncasecmp(line, "Transfer-Encoding: chunked", 26) == 0)
			chunked = true;
		else if (strncasecmp(line, "Connection: close", 17) == 0)
			*closes = true;
	}
	if (chunked ? !strstr(end + 2, "\r\n0\r\n\r\n") : have < want)
		return 0;
	return (unsigned)strtoul(c->reply + 9, NULL, 10);
}

static void answered(struct connection *c, unsigned status)
{
	struct poster *p = c->poster;

	p->times[c->number].answer_ns = now_ns();
	p->figures.answered++;
	p->figures.failed += status / 100 != 2;
	p->figures.statuses[MIN(status, ARRAY_LEN(p->figures.statuses) - 1)]++;
	p->under_way--;
	p->idle[(p->idle_first + p->idle_count++) % p->plan.connections] = c;
	c->number = 0;
	send_due(p);
}

static void answer(struct watch *w, uint32_t events)
{
	struct connection *c = (struct connection *)w;
	bool closes = false;

	(void)events;

	ssize_t n = read(w->fd, c->reply + c->reply_len, REPLY_MAX - c->reply_len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		if (c->reply_len == REPLY_MAX)
			die("a reply of more than %d bytes", REPLY_MAX);
		close(w->fd);
		w->fd = -1;
		if (c->number)
			answered(c, 0);
		return;
	}
	if (!c->number)
		die("a reply to nothing: %.*s", (int)n, c->reply);
	c->reply_len += (size_t)n;

	unsigned status = reply_status(c, &closes);

	if (!status)
		return;
	if (closes) {
		close(w->fd);
		w->fd = -1;
	}
	answered(c, status);
}

void poster_run(struct poster *p, uint64_t count)
{
	p->figures = (struct poster_figures){0};
	p->to_send = count;
	p->held = false;
	p->next_turn_ns = now_ns();
	send_due(p);
}

void poster_stop(struct poster *p)
{
	p->to_send = 0;
}

bool poster_idle(const struct poster *p)
{
	return p->to_send == 0 && p->under_way == 0;
}

void poster_release(struct poster *p)
{
	p->held = false;
	send_due(p);
}

int64_t poster_start_ns(const struct poster *p, uint64_t number)
{
	return p->times[number].start_ns;
}

int64_t poster_answer_ns(const struct poster *p, uint64_t number)
{
	return p->times[number].answer_ns;
}

uint64_t poster_last(const struct poster *p)
{
	return p->last;
}

const struct poster_figures *poster_figures(const struct poster *p)
{
	return &p->figures;
}

void poster_print_statuses(const struct poster *p)
{
	for (size_t i = 0; i < ARRAY_LEN(p->figures.statuses); i++) {
		if (p->figures.statuses[i])
			printf("status %zu %" PRIu64 "\n", i, p->figures.statuses[i]);
	}
}

void poster_free(struct poster **p)
{
	if (!*p)
		return;
	for (unsigned i = 0; i < (*p)->plan.connections; i++) {
		if ((*p)->connections[i].watch.fd >= 0)
			close((*p)->connections[i].watch.fd);
	}
	if ((*p)->timer.fd >= 0)
		close((*p)->timer.fd);
	free((*p)->times);
	free((*p)->pad);
	free((*p)->idle);
	free(*p);
	*p = NULL;
}
