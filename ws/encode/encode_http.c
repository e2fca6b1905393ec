#include "ws/encode/encode_http.h"

#include <ctype.h>

#include "base/clock.h"
#include "domain/http/problem.h"
#include "ws/encode/encode_parts.h"

#define RETRY_AFTER_S 5

void encode_http_head(struct buf *out, const struct session *s, int status, const char *type, size_t length)
{
	char date[CLOCK_HTTP_DATE_SIZE];

	buf_printf(out,
		   "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\nDate: %s\r\n"
		   "X-Accel-Buffering: no\r\n",
		   status, status == 200 ? "OK" : problem_title(status), type, clock_http_date(date, clock_wall_us()));
	if (length != SIZE_MAX)
		buf_printf(out, "Content-Length: %zu\r\n", length);
	if (s->client.request_id)
		buf_printf(out, "X-Request-Id: %s\r\n", s->client.request_id);
	if (s->client.allowed_origin)
		buf_printf(out,
			   "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\nAccess-Control-Expose-Headers: "
			   "Retry-After, WWW-Authenticate, X-Request-Id\r\n",
			   s->client.allowed_origin);
	if (status == 401)
		buf_printf(out, PROBLEM_CHALLENGE, encode_sentence(s));
	if (status == 429 || status == 503)
		buf_printf(out, "Retry-After: %d\r\n", RETRY_AFTER_S);
	buf_printf(out, "Connection: %s\r\n\r\n", s->end.keep_alive ? "keep-alive" : "close");
}

void encode_http_reply(struct buf *out, const struct session *s, int status, const char *type, struct buf *body)
{
	encode_http_head(out, s, status, type, body->len);
	buf_add(out, body->bytes, body->len);
	if (!buf_ok(body))
		out->failed = true;
	buf_free(body);
}

void encode_http_problem(struct buf *out, const struct session *s)
{
	struct problem problem = PROBLEM_NONE;
	struct buf body = BUF_EMPTY, detail = BUF_EMPTY;

	if (s->end.refused_topic)
		problem_add_field(&problem, "", "topics", s->end.refused_topic);
	/* The reason of a close, as the sentence that it is here. */
	buf_printf(&detail, "%c%s.", toupper((unsigned char)s->end.reason[0]), s->end.reason + 1);
	problem.status = s->end.status;
	problem.detail = s->end.detail ? s->end.detail : buf_ok(&detail) ? detail.bytes : s->end.reason;
	problem_write(&body, &problem);
	problem_free(&problem);
	buf_free(&detail);
	encode_http_reply(out, s, s->end.status, "application/problem+json", &body);
}
