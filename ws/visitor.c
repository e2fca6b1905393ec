#include "ws/visitor.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "domain/problem.h"

/*
 * How long it may stay so. RESTING: nginx keeps an idle connection to an upstream for 60 s; it is to be the one that
 * closes, or its next request may meet our close. LINGERING: for the client to read a refusal.
 */
static const int64_t stay_ms[VISITOR_STATES] = {
	[VISITOR_NEW] = 10000,	  [VISITOR_RESTING] = 65000,  [VISITOR_READING] = 10000,
	[VISITOR_WAITING] = 5000, [VISITOR_LINGERING] = 2000,
};

void visitors_init(struct visitors *all)
{
	*all = (struct visitors){0};
	for (int i = 0; i < VISITOR_STATES; i++)
		TAILQ_INIT(&all->lists[i]);
}

struct visitor *visitors_overdue(const struct visitors *all, int64_t now_ms)
{
	for (int i = 0; i < VISITOR_STATES; i++) {
		struct visitor *v = TAILQ_FIRST(&all->lists[i]);

		if (v && now_ms >= v->due_ms)
			return v;
	}
	return NULL;
}

static void enter(struct visitor *v, enum visitor_state state)
{
	v->state = state;
	v->due_ms = clock_monotonic_ms() + stay_ms[state];
	TAILQ_INSERT_TAIL(&v->all->lists[state], v, link);
	v->all->counts[state]++;
	v->all->count++;
}

static void leave(struct visitor *v)
{
	TAILQ_REMOVE(&v->all->lists[v->state], v, link);
	v->all->counts[v->state]--;
	v->all->count--;
}

enum err visitor_new(struct visitor **v, struct visitors *all, struct node *n, enum visitor_state state,
		     struct line *line, line_event event)
{
	struct visitor *made = calloc(1, sizeof(*made));

	if (!made) {
		line_close(&line);
		return ERR_MEMORY;
	}
	made->all = all;
	made->node = n;
	made->line = line;
	enter(made, state);
	line_take(line, made, event);
	*v = made;
	return OK;
}

void visitor_move(struct visitor *v, enum visitor_state state)
{
	leave(v);
	enter(v, state);
}

void visitor_charge(struct visitor *v)
{
	v->all->bytes += v->in.size - v->charged;
	budget_release(&v->node->budget, v->charged);
	budget_reserve(&v->node->budget, v->in.size);
	v->charged = v->in.size;
}

struct line *visitor_dismiss(struct visitor *v)
{
	struct line *line = v->line;

	leave(v);
	buf_free(&v->in);
	visitor_charge(v);
	free(v);
	return line;
}

void visitor_close(struct visitor *v)
{
	struct line *line = visitor_dismiss(v);

	line_close(&line);
}

void visitor_send_last(struct visitor *v, struct buf *reply)
{
	int fd = line_fd(v->line);

	/* It fits into an empty socket buffer; a peer that makes it not fit gets none. */
	if (buf_ok(reply) && send(fd, reply->bytes, reply->len, MSG_NOSIGNAL) == (ssize_t)reply->len &&
	    shutdown(fd, SHUT_WR) == 0) {
		buf_free(&v->in);
		visitor_charge(v);
		visitor_move(v, VISITOR_LINGERING);
		line_watch(v->line, UV_READABLE);
	} else {
		visitor_close(v);
	}
	buf_free(reply);
}

void visitor_refuse_problem(struct visitor *v, const struct problem *problem, const char *headers)
{
	struct buf body = BUF_EMPTY, reply = BUF_EMPTY;
	char date[CLOCK_HTTP_DATE_SIZE];

	problem_write(&body, problem);
	/* Who is to upgrade is told so in Connection as well (RFC 9110, section 7.8). */
	buf_printf(&reply,
		   "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\nCache-Control: "
		   "no-store\r\nDate: %s\r\n"
		   "Connection: %sclose\r\n%s\r\n",
		   problem->status, problem_title(problem->status), body.len, clock_http_date(date, clock_wall_us()),
		   problem->status == 426 ? "Upgrade, " : "", headers);
	if (!v->head_only)
		buf_add(&reply, body.bytes, body.len);
	if (!buf_ok(&body))
		reply.failed = true;
	buf_free(&body);
	visitor_send_last(v, &reply);
}

void visitor_refuse(struct visitor *v, int status, const char *headers, const char *detail)
{
	visitor_refuse_problem(v, &(struct problem){.status = status, .detail = detail}, headers);
}
