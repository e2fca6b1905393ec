/* More than 400 lines: what each route takes, and how it is refused, stands together. */
#include "ws/net/router.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "domain/http/origin.h"
#include "domain/http/query.h"
#include "domain/http/request_head.h"
#include "domain/http/request_id.h"
#include "domain/topic/selection.h"
#include "domain/topic/topic.h"
#include "domain/websocket/extension.h"
#include "ws/identity/identity.h"
#include "ws/kind/poll.h"
#include "ws/kind/stream.h"
#include "ws/live/live_connection.h"
#include "ws/metrics/node_metrics.h"
#include "ws/net/health.h"
#include "ws/net/http_transport.h"
#include "ws/net/metrics_page.h"
#include "ws/net/websocket.h"

#define REFUSALS_MAX 512 /* sessions over the limit, while they are told so; more are not let in so far */

/* A refusal that a page may read, where its origin is allowed. */
static void refuse_problem(struct requester *r, const struct request_head *head, const struct problem *problem,
			   const char *headers)
{
	struct buf all = BUF_EMPTY;
	char id[REQUEST_ID_MAX + 1];

	buf_add_text(&all, headers);
	if (request_id_given(id, &head->request_id, &head->traceparent))
		buf_printf(&all, "X-Request-Id: %s\r\n", id);
	if (head->origin.bytes && origin_allowed(r->node->config->allowed_origins, head->origin))
		buf_printf(&all,
			   "Access-Control-Allow-Origin: %.*s\r\nVary: Origin\r\nAccess-Control-Expose-Headers: "
			   "Retry-After, X-Request-Id\r\n",
			   (int)head->origin.len, head->origin.bytes);
	requester_refuse_problem(r, problem, buf_ok(&all) && all.bytes ? all.bytes : headers);
	buf_free(&all);
}

static void refuse(struct requester *r, const struct request_head *head, int status, const char *headers,
		   const char *detail)
{
	refuse_problem(r, head, &(struct problem){.status = status, .detail = detail}, headers);
}

/* The token of a `bearer.<jwt>` in the list of subprotocols; whether the client also offers ours. */
static bool find_bearer_protocol(struct header_list protocols, struct buf *token, bool *offers_ours)
{
	struct span item;
	bool found = false;

	*offers_ours = false;
	while (header_list_next(&protocols, &item)) {
		if (item.len == strlen(WEBSOCKET_PROTOCOL) && memcmp(item.bytes, WEBSOCKET_PROTOCOL, item.len) == 0)
			*offers_ours = true;
		if (!found && item.len > strlen("bearer.") && memcmp(item.bytes, "bearer.", strlen("bearer.")) == 0) {
			found = true;
			buf_add(token, item.bytes + strlen("bearer."), item.len - strlen("bearer."));
		}
	}
	return found;
}

/* What a request says of itself, whatever it asks for. Its texts are behind an arrival's. */
struct credentials {
	struct buf token, echo, origin;
	bool offers_ours; /* the subprotocol "tidings" */
};

static void forget_credentials(struct credentials *q)
{
	if (q->token.bytes)
		explicit_bzero(q->token.bytes, q->token.len);
	buf_free(&q->token);
	buf_free(&q->echo);
	buf_free(&q->origin);
}

/* False: no memory. An empty token is a bad one, not none. */
static bool read_credentials(struct credentials *q, struct arrival *a, const struct request_head *head,
			     const struct config *c)
{
	struct span bearer = request_head_bearer(head);
	bool by_protocol = false;

	by_protocol = find_bearer_protocol(head->websocket_protocols, &q->token, &q->offers_ours);
	/* A browser takes no answer that names none of what it offered. */
	if (q->offers_ours)
		buf_add_text(&q->echo, WEBSOCKET_PROTOCOL);
	else if (by_protocol)
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
	if (head->origin.bytes && origin_allowed(c->allowed_origins, head->origin))
		buf_add(&q->origin, head->origin.bytes, head->origin.len);
	a->token = q->token.len > 0 ? q->token.bytes : NULL;
	a->echo_protocol = q->echo.len > 0 ? q->echo.bytes : NULL;
	a->allowed_origin = q->origin.len > 0 ? q->origin.bytes : NULL;
	return buf_ok(&q->token) && buf_ok(&q->echo) && buf_ok(&q->origin);
}

static const char no_memory[] = "The server is short of memory.";

static bool offers_deflate(const struct header_list *extensions)
{
	for (unsigned i = 0; i < extensions->count; i++)
		if (extension_deflate_offered(extensions->lines[i]))
			return true;
	return false;
}

/* What the client has sent behind the head are its first frames. */
static void upgrade(struct requester *r, const struct request_head *head, struct span more, struct arrival *a)
{
	struct node *n = r->node;
	struct buf key = BUF_EMPTY, early = BUF_EMPTY;

	a->inflates = n->fanout.deflater && offers_deflate(&head->websocket_extensions);
	buf_add(&key, head->websocket_key.bytes, head->websocket_key.len);
	buf_add(&early, more.bytes, more.len);
	if (buf_ok(&key) && buf_ok(&early)) {
		struct client_socket *socket = requester_dismiss(r);

		websocket_upgrade(n, client_socket_leave(&socket), a, (struct span){key.bytes, key.len}, &early);
	} else {
		refuse(r, head, 503, "Retry-After: 5\r\n", no_memory);
	}
	buf_free(&key);
	buf_free(&early);
}

/* An event stream, or a poll: the reply is held. */
static void hold(struct requester *r, const struct request_head *head, struct span more, struct arrival *a)
{
	a->keep_alive = a->kind == &kind_poll && head->keep_alive && more.len == 0;
	http_transport_hold(r, a);
}

/* What there is to ask for, before its `/{id}` or `?topics=`. */
static const struct {
	const char *path;
	const struct session_kind *kind;
} routes[] = {{"/ws", &kind_websocket}, {"/sse", &kind_sse}, {"/poll", &kind_poll}};

/* NULL: there is no such route. Else *diagnosis_id is 0 for the one that takes topics. */
static const struct session_kind *find_route(struct span path, int64_t *diagnosis_id)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		size_t len = strlen(routes[i].path);

		*diagnosis_id = 0;
		if (path.len >= len && memcmp(path.bytes, routes[i].path, len) == 0 &&
		    (path.len == len || (path.bytes[len] == '/' &&
					 topic_parse_id(path.bytes + len + 1, path.len - len - 1, diagnosis_id))))
			return routes[i].kind;
	}
	return NULL;
}

/* What is wrong with the parameters, one by one and together. */
static void check_query(const struct request_head *head, const struct arrival *a, int64_t diagnosis_id,
			struct problem *problem)
{
	const struct query_name names[] = {
		{"token", true},
		{"cursor", !a->endpoint},
		{"topics", !a->endpoint && diagnosis_id == 0},
		{"timeout", a->kind == &kind_poll},
		{"device", true},
		{"types", !a->endpoint},
		{"rewind", !a->endpoint},
		{"presence", !a->endpoint},
	};

	query_check(head->query, names, ARRAY_LEN(names), problem);
}

/* A browser asks before it sends what a plain page could not. */
static void answer_preflight(struct requester *r, const struct request_head *head)
{
	struct buf reply = BUF_EMPTY;
	char date[CLOCK_HTTP_DATE_SIZE];

	if (!head->origin.bytes || !origin_allowed(r->node->config->allowed_origins, head->origin)) {
		node_count_refused(r->node, REFUSED_ORIGIN);
		refuse(r, head, 403, "", "This origin is not allowed.");
		return;
	}
	buf_printf(&reply,
		   "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: %.*s\r\nVary: "
		   "Origin\r\nAccess-Control-Allow-Methods: GET\r\n"
		   "Access-Control-Allow-Headers: Authorization, Cache-Control, Content-Type, Last-Event-ID, "
		   "Traceparent, X-Request-Id\r\n"
		   "Access-Control-Max-Age: 3600\r\nDate: %s\r\nConnection: close\r\n\r\n",
		   (int)head->origin.len, head->origin.bytes, clock_http_date(date, clock_wall_us()));
	requester_send_last(r, &reply);
}

#define POLL_TIMEOUT_DEFAULT_S 25
#define POLL_TIMEOUT_MAX_S 55

static enum err read_timeout(const struct request_head *head, int64_t *timeout_s)
{
	struct buf text = BUF_EMPTY;
	bool good = true;
	enum err e;

	*timeout_s = POLL_TIMEOUT_DEFAULT_S;
	if (query_get(head->query, "timeout", &text)) {
		if (text.len == 1 && text.bytes[0] == '0')
			*timeout_s = 0;
		else
			good = topic_parse_id(text.bytes ? text.bytes : "", text.len, timeout_s) &&
			       *timeout_s <= POLL_TIMEOUT_MAX_S;
	}
	e = !buf_ok(&text) ? ERR_MEMORY : good ? OK : ERR_INPUT;
	buf_free(&text);
	return e;
}

/* Where a client that cannot have a WebSocket finds the same; for live health there is no such place. */
static void refuse_plain_get(struct requester *r, const struct request_head *head, bool live, int64_t diagnosis_id)
{
	struct buf headers = BUF_EMPTY, topics = BUF_EMPTY;
	struct selection *selection;

	buf_add_text(&headers, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
	if (diagnosis_id > 0) {
		buf_printf(&headers, "Link: </poll/%lld>; rel=\"alternate\"\r\n", (long long)diagnosis_id);
	} else if (!live && query_get(head->query, "topics", &topics) && topics.len > 0 &&
		   selection_of_topics(&selection, (struct span){topics.bytes, topics.len}, NULL) == OK) {
		/* Names of topics need no escape in a URL. */
		buf_printf(&headers, "Link: </poll?topics=%s>; rel=\"alternate\"\r\n", topics.bytes);
		selection_free(&selection);
	}
	buf_free(&topics);
	refuse(r, head, 426, buf_ok(&headers) ? headers.bytes : "", "This route is a WebSocket.");
	buf_free(&headers);
}

/* Nobody without a good token is let in before those who wait already. */
static bool has_turn(const struct requester *r, int64_t cost)
{
	bool overtakes = r->state != REQUESTER_WAITING && r->all->counts[REQUESTER_WAITING] > 0;

	return cost == 0 || (!overtakes && identity_take_stranger(r->node, cost));
}

static enum router_result let_in(struct requester *r, const struct request_head *head, struct span more,
				 struct arrival *a)
{
	enum router_result result = ROUTER_SERVED;
	const struct config *c = r->node->config;
	char request_id[REQUEST_ID_MAX + 1];
	struct credentials q = {0};

	forwarded_client(&a->client, client_socket_peer(r->socket), &head->forwarded, c->trusted_proxies,
			 (enum forwarded_header)c->proxy_header);
	if (request_id_given(request_id, &head->request_id, &head->traceparent))
		a->request_id = request_id;
	if (!read_credentials(&q, a, head, c))
		refuse(r, head, 503, "Retry-After: 5\r\n", no_memory);
	else if (!has_turn(r, identity_stranger_cost(r->node, a->token, a->kind)))
		result = ROUTER_LATER;
	else if (a->kind->is.duplex)
		upgrade(r, head, more, a);
	else
		hold(r, head, more, a);
	forget_credentials(&q);
	return result;
}

/* `more` is what came behind the head. */
static enum router_result serve(struct requester *r, const struct request_head *head, struct span more)
{
	enum router_result result = ROUTER_SERVED;
	struct arrival a = {0};
	struct problem problem = PROBLEM_NONE;
	struct selection *selection = NULL;
	char device[DEVICE_NAME_MAX + 1] = "";
	int64_t diagnosis_id = 0;
	enum err e = OK;
	bool websocket;

	if (health_serve(r, head) || metrics_page_serve(r, head))
		return ROUTER_SERVED;
	a.endpoint = live_endpoint(head->path);
	a.kind = a.endpoint ? &kind_live : find_route(head->path, &diagnosis_id);
	if (!a.kind) {
		refuse(r, head, 404, "", "There is nothing at this path.");
		return ROUTER_SERVED;
	}
	websocket = a.kind->is.duplex;
	if (!websocket && request_head_is_method(head, "OPTIONS") && head->wanted_method.bytes) {
		answer_preflight(r, head);
	} else if (!request_head_is_method(head, "GET")) {
		refuse(r, head, 405, "Allow: GET\r\n", "This route takes GET only.");
	} else if (head->body_status != 0) {
		refuse(r, head, head->body_status, "", "No body is taken here.");
	} else if (websocket && !request_head_is_websocket(head)) {
		refuse_plain_get(r, head, a.endpoint != NULL, diagnosis_id);
	} else if (r->node->sessions.count >= (size_t)r->node->config->connections_max + REFUSALS_MAX) {
		node_count_refused(r->node, REFUSED_FULL);
		refuse(r, head, 503, "Retry-After: 5\r\n", "The server is full.");
	} else {
		check_query(head, &a, diagnosis_id, &problem);
		if (a.kind == &kind_poll)
			e = read_timeout(head, &a.timeout_s);
		if (e == ERR_INPUT)
			problem_add_field(&problem, "", "timeout", "must be an integer from 0 to 55");
		if (a.endpoint)
			e = selection_device(device, head->query, &problem);
		else if (e != ERR_MEMORY)
			e = selection_of_query(&selection, head->query, head->last_event_id, diagnosis_id, &problem);
		a.selection = selection;
		if (selection && selection->items[0].presence && !r->node->config->presence)
			problem_add_field(&problem, "", "presence", "is not told here");
		a.device = selection ? selection->device : device;
		if (e == ERR_MEMORY)
			refuse(r, head, 503, "Retry-After: 5\r\n", no_memory);
		else if (problem.errors_count > 0)
			refuse_problem(r, head, &problem, "");
		else
			result = let_in(r, head, more, &a);
		selection_free(&selection);
		problem_free(&problem);
	}
	return result;
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

enum router_result router_serve(struct requester *r, struct span bytes)
{
	struct request_head head;
	int status = request_head_read(&head, bytes.bytes, bytes.len, &r->scan);

	r->head_only = status == 0 && request_head_is_method(&head, "HEAD");
	if (status == 0)
		return serve(r, &head, (struct span){bytes.bytes + head.len, bytes.len - head.len});
	if (status > 0) {
		node_count_refused(r->node, REFUSED_HEAD);
		requester_refuse(r, status, "", refusal(status));
	}
	return status > 0 ? ROUTER_SERVED : ROUTER_PART;
}

void router_refuse_late(struct requester *r)
{
	struct request_head head;

	node_count_refused(r->node, REFUSED_TOKEN);
	r->scan = (struct request_scan){0};
	if (request_head_read(&head, r->in.bytes, r->in.len, &r->scan) == 0)
		refuse(r, &head, 429, "Retry-After: 5\r\n",
		       "Too many come without a good token: see the Retry-After header.");
	else
		requester_close(r);
}
