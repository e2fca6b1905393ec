#include "fcgi/response.h"

#include <fcgiapp.h>
#include <inttypes.h>

#define AWAY_RETRY_S 2
#define MAY_BE_DONE "This may have been done, or not: try again in a few seconds, with the same Idempotency-Key."

void response_problem(struct response *res, const struct problem *p)
{
	res->status = p->status;
	res->problem = true;
	res->detail = p->detail;
	res->why = p->detail;
	if (p->status == 503 && res->retry_after_s == 0)
		res->retry_after_s = AWAY_RETRY_S;
	buf_clear(&res->body);
	problem_write(&res->body, p);
}

void response_refuse(struct response *res, int status, const char *detail)
{
	struct problem p = PROBLEM_NONE;

	p.status = status;
	p.detail = detail;
	response_problem(res, &p);
}

void response_fault(struct response *res, enum err e)
{
	struct problem p = {
		.status = 503,
		.detail = "This is not possible at the moment: try again in a few seconds.",
		.done_unknown = e == ERR_UNKNOWN,
	};

	if (e == ERR_UNKNOWN)
		p.detail = MAY_BE_DONE;
	if (e == ERR_AWAY || e == ERR_BUSY || e == ERR_MEMORY || e == ERR_UNKNOWN)
		response_problem(res, &p);
	else
		response_refuse(res, 500, "Something went wrong on our side.");
}

/* 204: what the browser asks for may be sent. */
static void send_preflight(FCGX_Stream *out, const struct response *res)
{
	FCGX_FPrintF(out,
		     "Status: 204 No Content\r\nAccess-Control-Allow-Methods: %s\r\n"
		     "Access-Control-Allow-Headers: Authorization, Cache-Control, Content-Type, Idempotency-Key, "
		     "Last-Event-ID, Traceparent, X-Request-Id\r\n"
		     "Access-Control-Max-Age: 3600\r\n",
		     res->allow);
}

static void send_head(FCGX_Stream *out, const struct response *res, size_t body_len)
{
	FCGX_FPrintF(out, "Status: %d %s\r\n", res->status, res->status == 200 ? "OK" : problem_title(res->status));
	FCGX_FPrintF(out, "Content-Type: %s\r\n",
		     res->problem ? "application/problem+json"
		     : res->type  ? res->type
				  : "application/json");
	FCGX_FPrintF(out, "Content-Length: %lu\r\n", (unsigned long)body_len);
	if (res->status == 415)
		FCGX_PutS("Accept: application/json\r\nAccept-Encoding: identity\r\n", out);
	if (res->status == 401)
		FCGX_FPrintF(out, PROBLEM_CHALLENGE, res->detail);
	if (res->allow[0])
		FCGX_FPrintF(out, "Allow: %s\r\n", res->allow);
	if (res->retry_after_s > 0)
		FCGX_FPrintF(out, "Retry-After: %ld\r\n", (long)res->retry_after_s);
}

void response_send(const struct request *r, struct response *res)
{
	/* Where what has no memory is the answer. */
	static const char nothing_known[] =
		"{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"" MAY_BE_DONE
		"\",\"done\":\"unknown\"}";
	FCGX_Stream *out = r->fcgi->out;
	struct span body = {res->body.bytes, res->body.len};

	if (!buf_ok(&res->body)) {
		res->status = 503;
		res->problem = true;
		res->retry_after_s = AWAY_RETRY_S;
		body = (struct span){nothing_known, sizeof(nothing_known) - 1};
	}
	if (res->status == 204)
		send_preflight(out, res);
	else
		send_head(out, res, body.len);
	FCGX_FPrintF(out, "Cache-Control: no-store\r\nX-Request-Id: %s\r\n", r->request_id);
	if (r->origin)
		FCGX_FPrintF(out,
			     "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\n"
			     "Access-Control-Expose-Headers: Retry-After, WWW-Authenticate, X-Request-Id\r\n",
			     r->origin);
	FCGX_PutS("\r\n", out);
	if (!request_is_head(r) && body.len > 0)
		FCGX_PutStr(body.bytes, (int)body.len, out);
}

void response_free(struct response *res)
{
	buf_free(&res->body);
}
