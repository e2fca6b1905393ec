#include "ws/net/metrics_page.h"

#include <string.h>

#include "ws/metrics/node_metrics.h"
#include "ws/net/websocket.h"
#include "ws/node.h"

/* One that a proxy sends on is not this machine's own, wherever the proxy is. */
static bool is_local(const struct requester *r, const struct request_head *head)
{
	const struct address *peer = client_socket_peer(r->socket);

	return !head->by_proxy && (peer->kind == ADDRESS_UNIX || address_is_loopback(peer));
}

/* By an admin's token. False: the request is refused. */
static bool is_admin(struct requester *r, const struct request_head *head)
{
	struct span token = request_head_bearer(head);
	const struct token_fault *fault = NULL;
	const char *detail = PROBLEM_NO_TOKEN;
	struct token_claims claims;
	struct buf challenge = BUF_EMPTY;
	enum err e = ERR_UNAUTHORIZED;

	if (token.bytes) {
		e = token_verify(r->node->identity.keys, token.bytes, token.len, clock_wall_us() / 1000000, &claims,
				 &fault);
		detail = fault ? fault->detail : "The server is short of memory.";
	}
	if (e == OK && claims.role == ROLE_ADMIN)
		return true;
	buf_printf(&challenge, PROBLEM_CHALLENGE, detail);
	if (e == OK)
		requester_refuse(r, 403, "", "Only administrators may see the metrics.");
	else if (e == ERR_UNAUTHORIZED)
		requester_refuse(r, 401, buf_ok(&challenge) ? challenge.bytes : "", detail);
	else
		requester_refuse(r, 503, "Retry-After: 5\r\n", detail);
	buf_free(&challenge);
	return false;
}

static bool may_see(struct requester *r, const struct request_head *head)
{
	if (r->node->config->metrics == METRICS_TOKEN)
		return is_admin(r, head);
	if (is_local(r, head))
		return true;
	requester_refuse(r, 403, "", METRICS_LOCAL_ONLY);
	return false;
}

bool metrics_page_serve(struct requester *r, const struct request_head *head)
{
	static const char path[] = "/metrics";
	enum metrics_format format =
		header_list_accepts(head->accept, OPENMETRICS_MEDIA_TYPE) ? METRICS_OPENMETRICS : METRICS_TEXT;
	struct buf text = BUF_EMPTY;

	if (r->node->config->metrics == METRICS_OFF || head->path.len != strlen(path) ||
	    memcmp(head->path.bytes, path, head->path.len) != 0)
		return false;
	if (!requester_takes_get(r, head) || !may_see(r, head))
		return true;
	node_metrics_write(r->node, websockets_library_version(), format, &text);
	requester_answer(r, 200, metrics_type(format), &text, "");
	return true;
}
