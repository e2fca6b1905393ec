#include "domain/http/problem.h"

#include <string.h>

#include "base/defs.h"
#include "domain/text/json.h"

const char *problem_title(int status)
{
	static const struct {
		int status;
		const char *title;
	} titles[] = {
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{411, "Length Required"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{415, "Unsupported Media Type"},
		{416, "Range Not Satisfiable"},
		{417, "Expectation Failed"},
		{422, "Unprocessable Content"},
		{426, "Upgrade Required"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < ARRAY_LEN(titles); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return status < 500 ? "Client Error" : "Server Error";
}

void problem_add_field(struct problem *p, const char *prefix, const char *field, const char *message)
{
	struct buf name = BUF_EMPTY;

	p->status = 422;
	p->detail = "Some of what was sent is missing or wrong: see errors.";
	buf_add_text(&name, prefix);
	buf_add_text(&name, field);
	if (p->errors_count++ > 0)
		buf_add_text(&p->errors, ",");
	buf_add_text(&p->errors, "{\"field\":");
	if (buf_ok(&name))
		json_add_string(&p->errors, name.bytes ? name.bytes : "", name.len);
	else
		p->errors.failed = true;
	buf_add_text(&p->errors, ",\"message\":");
	json_add_string(&p->errors, message, strlen(message));
	buf_add_text(&p->errors, "}");
	buf_free(&name);
}

void problem_add_sentence(struct problem *p, const char *sentence)
{
	size_t len = strcspn(sentence, " ");
	struct buf field = BUF_EMPTY;

	buf_add(&field, sentence, len);
	problem_add_field(p, "", buf_ok(&field) && len > 0 ? field.bytes : "", sentence + len + (sentence[len] == ' '));
	buf_free(&field);
}

void problem_add_errors(struct buf *out, const struct problem *p)
{
	if (p->errors_count == 0)
		return;
	buf_add_text(out, ",\"errors\":[");
	buf_add(out, p->errors.bytes, p->errors.len);
	buf_add_text(out, "]");
	if (!buf_ok(&p->errors))
		out->failed = true;
}

void problem_write(struct buf *out, const struct problem *p)
{
	buf_printf(out,
		   "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":", problem_title(p->status),
		   p->status);
	json_add_string(out, p->detail, strlen(p->detail));
	problem_add_errors(out, p);
	if (p->status == 503)
		buf_printf(out, ",\"done\":\"%s\"", p->done_unknown ? "unknown" : "no");
	buf_add_text(out, "}");
}

void problem_free(struct problem *p)
{
	buf_free(&p->errors);
	*p = PROBLEM_NONE;
}
