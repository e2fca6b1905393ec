#include "ws/door.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "domain/origin.h"
#include "domain/problem.h"
#include "domain/query.h"
#include "domain/request_head.h"
#include "domain/topic.h"
#include "ws/http_socket.h"
#include "ws/server.h"
#include "ws/stages.h"
#include "ws/voices.h"

#define VISITORS_MAX 1024
#define REFUSALS_MAX 512 /* sessions over the limit, while they are told so; more are not let in so far */
#define ACCEPT_TURN 128	 /* sockets, before the loop looks at the others */
#define HEAD_MAX_MS 10000
#define LINGER_MAX_MS 2000 /* for the client to read a refusal, before the socket goes */
#define BACKLOG 4096

enum visitor_state { VISITOR_READING, VISITOR_LINGERING };

struct visitor {
	TAILQ_ENTRY(visitor) link;
	uv_poll_t poll;
	struct door *door;
	struct buf in;
	int fd;
	enum visitor_state state;
	int64_t due_ms;
};

TAILQ_HEAD(visitor_list, visitor);

struct door {
	struct node *node;
	uv_poll_t listening;
	int fd; /* -1: shut */
	struct visitor_list visitors;
	size_t visitors_count;
	bool full;	/* not accepting for the moment: out of descriptors */
	bool said_full; /* such a time is one line in the log */
};

static void on_listen(uv_poll_t *poll, int status, int events);

static void on_visitor_closed(uv_handle_t *handle)
{
	struct visitor *v = handle->data;

	buf_free(&v->in);
	free(v);
}

/* Takes the visitor off the door; its socket is the caller's. */
static int dismiss(struct visitor *v)
{
	struct door *d = v->door;
	int fd = v->fd;

	uv_poll_stop(&v->poll);
	uv_close((uv_handle_t *)&v->poll, on_visitor_closed);
	TAILQ_REMOVE(&d->visitors, v, link);
	d->visitors_count--;
	if (d->full && d->fd >= 0) {
		d->full = false;
		uv_poll_start(&d->listening, UV_READABLE, on_listen);
	}
	return fd;
}

/*
 * Its last bytes, and the end: what the client still sends is read and thrown away, or its kernel would throw the answer away. Takes over
 * what is in `reply`.
 */
static void send_last(struct visitor *v, struct buf *reply)
{
	/* It fits into an empty socket buffer; a peer that makes it not fit gets none. */
	if (buf_ok(reply) && send(v->fd, reply->bytes, reply->len, MSG_NOSIGNAL) == (ssize_t)reply->len &&
	    shutdown(v->fd, SHUT_WR) == 0) {
		v->state = VISITOR_LINGERING;
		v->due_ms = clock_monotonic_ms() + LINGER_MAX_MS;
	} else {
		close(dismiss(v));
	}
	buf_free(reply);
}

static void answer(struct visitor *v, int status, const char *headers, const char *detail)
{
	struct problem problem = {.status = status, .detail = detail};
	struct buf body = BUF_EMPTY, reply = BUF_EMPTY;

	problem_write(&body, &problem);
	buf_printf(&reply,
		   "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
		   "Connection: close\r\n%s\r\n",
		   status, problem_title(status), body.len, headers);
	buf_add(&reply, body.bytes, body.len);
	buf_free(&body);
	send_last(v, &reply);
}

/* The token of a `bearer.<jwt>` in the list of subprotocols; whether the client also offers ours. */
static bool find_bearer_protocol(struct span protocols, struct buf *token, bool *offers_ours)
{
	struct span item;
	bool found = false;

	*offers_ours = false;
	while (list_next(&protocols, &item)) {
		if (item.len == strlen(SERVER_PROTOCOL) && memcmp(item.bytes, SERVER_PROTOCOL, item.len) == 0)
			*offers_ours = true;
		if (!found && item.len > strlen("bearer.") && memcmp(item.bytes, "bearer.", strlen("bearer.")) == 0) {
			found = true;
			buf_add(token, item.bytes + strlen("bearer."), item.len - strlen("bearer."));
		}
	}
	return found;
}

/* What a request says of itself, whatever it asks for. Its texts are behind an arrival's. */
struct question {
	struct buf token, cursor, echo, origin;
	bool offers_ours; /* the subprotocol "tidings" */
};

static void forget_question(struct question *q)
{
	if (q->token.bytes)
		explicit_bzero(q->token.bytes, q->token.len);
	buf_free(&q->token);
	buf_free(&q->cursor);
	buf_free(&q->echo);
	buf_free(&q->origin);
}

/* False: no memory. An empty token or cursor is a bad one, not none. */
static bool read_question(struct question *q, struct arrival *a, const struct request_head *head, const struct config *c)
{
	struct span bearer = request_head_bearer(head);
	bool by_protocol = false;

	if (head->websocket_protocols.bytes)
		by_protocol = find_bearer_protocol(head->websocket_protocols, &q->token, &q->offers_ours);
	/* A browser takes no answer that names none of what it offered. */
	if (by_protocol && !q->offers_ours)
		buf_printf(&q->echo, "bearer.%s", q->token.bytes ? q->token.bytes : "");
	if (bearer.bytes) {
		buf_clear(&q->token);
		buf_add(&q->token, bearer.bytes, bearer.len);
	} else if (!by_protocol && query_get(head->query, "token", &q->token) && q->token.len == 0) {
		buf_add_text(&q->token, " ");
	}
	/* Bearer, and nothing behind it. */
	if (q->token.len == 0 && head->authorization.bytes)
		buf_add_text(&q->token, " ");
	if (head->last_event_id.bytes && head->last_event_id.len > 0)
		buf_add(&q->cursor, head->last_event_id.bytes, head->last_event_id.len);
	else if (query_get(head->query, "cursor", &q->cursor) && q->cursor.len == 0)
		buf_add_text(&q->cursor, " ");
	if (head->origin.bytes && origin_allowed(c->allowed_origins, head->origin))
		buf_add(&q->origin, head->origin.bytes, head->origin.len);
	a->token = q->token.len > 0 ? q->token.bytes : NULL;
	a->cursor = q->cursor.len > 0 ? q->cursor.bytes : NULL;
	a->echo_protocol = q->echo.len > 0 ? q->echo.bytes : NULL;
	a->allowed_origin = q->origin.len > 0 ? q->origin.bytes : NULL;
	return buf_ok(&q->token) && buf_ok(&q->cursor) && buf_ok(&q->echo) && buf_ok(&q->origin);
}

static const char no_memory[] = "The server is short of memory.";

static void upgrade(struct visitor *v, const struct request_head *head, struct arrival *a, const struct question *q)
{
	struct node *n = v->door->node;
	struct buf request = BUF_EMPTY;

	a->voice = &voice_websocket;
	buf_printf(&request,
		   "GET /ws HTTP/1.1\r\nHost: tidings\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
		   "Sec-WebSocket-Key: %.*s\r\n%s\r\n",
		   (int)head->websocket_key.len, head->websocket_key.bytes,
		   q->offers_ours ? "Sec-WebSocket-Protocol: " SERVER_PROTOCOL "\r\n" : "");
	/* What the client has sent behind the head are its first frames. */
	buf_add(&request, v->in.bytes + head->len, v->in.len - head->len);
	if (buf_ok(&request))
		server_upgrade(n, dismiss(v), a, (struct span){request.bytes, request.len});
	else
		answer(v, 503, "Retry-After: 5\r\n", no_memory);
	buf_free(&request);
}

static const struct http_socket_ops http_socket_ops = {.writable = stages_writable, .gone = stages_end};

/* An event stream, or a poll: the reply is held. */
static void hold(struct visitor *v, const struct request_head *head, struct arrival *a, const struct voice *voice)
{
	static const struct transport transports[] = {
		{"sse", http_socket_write, http_socket_want_writable, http_socket_shut},
		{"long_poll", http_socket_write, http_socket_want_writable, http_socket_shut},
	};
	struct node *n = v->door->node;
	struct http_socket *h;
	struct session *s;
	struct buf early = BUF_EMPTY;

	a->voice = voice;
	a->keep_alive = voice == &voice_poll && head->keep_alive && v->in.len == head->len;
	if (http_socket_new(&h, n, dismiss(v), &http_socket_ops) != OK)
		return;
	s = stages_begin(n, &transports[voice == &voice_poll], h, a);
	if (s) {
		http_socket_serve(h, s);
	} else {
		close(http_socket_release(&h, &early));
		buf_free(&early);
	}
}

/* The 123 of "/ws/123". */
static bool route(struct span path, const char *prefix, int64_t *id)
{
	size_t len = strlen(prefix);

	return path.len > len && memcmp(path.bytes, prefix, len) == 0 && topic_parse_id(path.bytes + len, path.len - len, id);
}

static bool is_method(const struct request_head *head, const char *method)
{
	return head->method.len == strlen(method) && memcmp(head->method.bytes, method, head->method.len) == 0;
}

/* A browser asks before it sends what a plain page could not. */
static void answer_preflight(struct visitor *v, const struct request_head *head)
{
	struct buf reply = BUF_EMPTY;

	if (!head->origin.bytes || !origin_allowed(v->door->node->config->allowed_origins, head->origin)) {
		answer(v, 403, "", "This origin is not allowed.");
		return;
	}
	buf_printf(&reply,
		   "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: %.*s\r\nVary: Origin\r\nAccess-Control-Allow-Methods: GET\r\n"
		   "Access-Control-Allow-Headers: Authorization, Last-Event-ID\r\nAccess-Control-Max-Age: 3600\r\nConnection: close\r\n\r\n",
		   (int)head->origin.len, head->origin.bytes);
	send_last(v, &reply);
}

#define POLL_TIMEOUT_DEFAULT_S 25
#define POLL_TIMEOUT_MAX_S 55

static bool read_timeout(const struct request_head *head, int64_t *timeout_s)
{
	struct buf text = BUF_EMPTY;
	bool good = true;

	*timeout_s = POLL_TIMEOUT_DEFAULT_S;
	if (query_get(head->query, "timeout", &text)) {
		if (text.len == 1 && text.bytes[0] == '0')
			*timeout_s = 0;
		else
			good = topic_parse_id(text.bytes ? text.bytes : "", text.len, timeout_s) && *timeout_s <= POLL_TIMEOUT_MAX_S;
	}
	buf_free(&text);
	return good;
}

static void serve(struct visitor *v, const struct request_head *head)
{
	struct arrival a = {0};
	struct question q = {0};
	const struct voice *voice = NULL; /* a WebSocket */
	char headers[128];

	if (route(head->path, "/sse/", &a.diagnosis_id)) {
		voice = &voice_sse;
	} else if (route(head->path, "/poll/", &a.diagnosis_id)) {
		voice = &voice_poll;
	} else if (!route(head->path, "/ws/", &a.diagnosis_id)) {
		answer(v, 404, "", "There is no such route.");
		return;
	}
	if (voice && is_method(head, "OPTIONS") && head->wanted_method.bytes) {
		answer_preflight(v, head);
	} else if (!is_method(head, "GET")) {
		answer(v, 405, "Allow: GET\r\n", "This route takes GET only.");
	} else if (head->body_status != 0) {
		answer(v, head->body_status, "", "No body is taken here.");
	} else if (!voice && !request_head_is_websocket(head)) {
		snprintf(headers, sizeof(headers), "Upgrade: websocket\r\nLink: </poll/%lld>; rel=\"alternate\"\r\n",
			 (long long)a.diagnosis_id);
		answer(v, 426, headers, "This route is a WebSocket.");
	} else if (voice == &voice_poll && !read_timeout(head, &a.timeout_s)) {
		answer(v, 422, "", "timeout must be an integer from 0 to 55.");
	} else if (v->door->node->sessions_count >= (size_t)v->door->node->config->connections_max + REFUSALS_MAX) {
		answer(v, 503, "Retry-After: 5\r\n", "The server is full.");
	} else if (!read_question(&q, &a, head, v->door->node->config)) {
		answer(v, 503, "Retry-After: 5\r\n", no_memory);
	} else if (voice) {
		hold(v, head, &a, voice);
	} else {
		upgrade(v, head, &a, &q);
	}
	forget_question(&q);
}

static const char *refusal(int status)
{
	switch (status) {
	case 414:
		return "The URL is too long.";
	case 431:
		return "The headers are too large.";
	case 505:
		return "HTTP/1.1 is spoken here.";
	default:
		return "The request is malformed.";
	}
}

static void serve_head(struct visitor *v)
{
	struct request_head head;
	int status = request_head_read(&head, v->in.bytes, v->in.len);

	if (status == 0)
		serve(v, &head);
	else if (status > 0)
		answer(v, status, "", refusal(status));
}

static void read_head(struct visitor *v)
{
	char bytes[REQUEST_HEAD_MAX];
	ssize_t got = recv(v->fd, bytes, sizeof(bytes), 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0)
		buf_add(&v->in, bytes, (size_t)got);
	if (got <= 0 || !buf_ok(&v->in))
		close(dismiss(v));
	else
		serve_head(v);
}

static void on_visitor(uv_poll_t *poll, int status, int events)
{
	struct visitor *v = poll->data;
	char rest[4096];

	(void)events;
	if (v->state == VISITOR_READING && status == 0)
		read_head(v);
	else if (status < 0 || recv(v->fd, rest, sizeof(rest), 0) == 0)
		close(dismiss(v));
}

/* NULL: no memory; fd is closed then. */
static struct visitor *let_in(struct door *d, int fd)
{
	struct visitor *v = calloc(1, sizeof(*v));

	if (!v || uv_poll_init(d->node->loop, &v->poll, fd) != 0) {
		free(v);
		close(fd);
		return NULL;
	}
	v->poll.data = v;
	v->door = d;
	v->fd = fd;
	v->due_ms = clock_monotonic_ms() + HEAD_MAX_MS;
	TAILQ_INSERT_TAIL(&d->visitors, v, link);
	d->visitors_count++;
	uv_poll_start(&v->poll, UV_READABLE, on_visitor);
	return v;
}

static void welcome(struct door *d, int fd)
{
	struct visitor *v;
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	v = let_in(d, fd);
	/* Most often its request is there already. */
	if (v)
		read_head(v);
}

/* A poll's reply is out: its client may ask again on the same connection, and may have done so. */
static void reply_done(struct node *n, int fd, bool keep_alive, const struct buf *early)
{
	struct visitor *v;

	if (!keep_alive || n->door->visitors_count >= VISITORS_MAX) {
		shutdown(fd, SHUT_WR);
		close(fd);
		return;
	}
	v = let_in(n->door, fd);
	if (!v || early->len == 0)
		return;
	v->due_ms = clock_monotonic_ms() + HEAD_MAX_MS;
	buf_add(&v->in, early->bytes, early->len);
	if (buf_ok(&v->in))
		serve_head(v);
	else
		close(dismiss(v));
}

static void pause_accepting(struct door *d)
{
	d->full = true;
	uv_poll_stop(&d->listening);
}

/* Who has to go when there are too many: one that was answered, else the one that has not said what it wants for the longest. */
static struct visitor *longest_here(struct door *d)
{
	struct visitor *v;

	TAILQ_FOREACH(v, &d->visitors, link) {
		if (v->state == VISITOR_LINGERING)
			return v;
	}
	return TAILQ_FIRST(&d->visitors);
}

static void on_listen(uv_poll_t *poll, int status, int events)
{
	struct door *d = poll->data;

	(void)status;
	(void)events;
	for (int turn = 0; turn < ACCEPT_TURN && d->fd >= 0; turn++) {
		int fd;

		if (d->visitors_count >= VISITORS_MAX)
			close(dismiss(longest_here(d)));
		fd = accept4(d->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
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

static int listen_on(const char *address, int64_t port)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
	struct addrinfo *found;
	char service[8];
	int on = 1, fd = -1;

	snprintf(service, sizeof(service), "%d", (int)port);
	if (getaddrinfo(address, service, &hints, &found) != 0) {
		log_error("TIDINGS_WS_ADDRESS is not an address");
		return -1;
	}
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
		log_error("cannot listen address=%s port=%s why=\"%s\"", address, service, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

enum err door_new(struct door **d, struct node *n)
{
	struct door *made = calloc(1, sizeof(*made));

	if (!made)
		return ERR_MEMORY;
	made->node = n;
	n->reply_done = reply_done;
	TAILQ_INIT(&made->visitors);
	made->fd = listen_on(n->config->ws_address, n->config->ws_port);
	if (made->fd < 0 || uv_poll_init(n->loop, &made->listening, made->fd) != 0) {
		free(made);
		return ERR_SYSTEM;
	}
	made->listening.data = made;
	*d = made;
	return OK;
}

void door_open(struct door *d)
{
	if (d->fd >= 0)
		uv_poll_start(&d->listening, UV_READABLE, on_listen);
}

void door_shut(struct door *d)
{
	if (d->fd < 0)
		return;
	uv_poll_stop(&d->listening);
	uv_close((uv_handle_t *)&d->listening, NULL);
	close(d->fd);
	d->fd = -1;
}

void door_check(struct door *d, int64_t now_ms)
{
	struct visitor *v = TAILQ_FIRST(&d->visitors), *next;

	for (; v; v = next) {
		next = TAILQ_NEXT(v, link);
		if (now_ms >= v->due_ms)
			close(dismiss(v));
	}
	if (d->full && d->fd >= 0) {
		d->full = false;
		uv_poll_start(&d->listening, UV_READABLE, on_listen);
	}
}

void door_free(struct door **d)
{
	struct visitor *v;

	if (!*d)
		return;
	door_shut(*d);
	while ((v = TAILQ_FIRST(&(*d)->visitors)))
		close(dismiss(v));
	/* The visitors' handles still point here until the loop has closed them: it frees after. */
	free(*d);
	*d = NULL;
}
