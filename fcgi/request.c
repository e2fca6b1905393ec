#include "fcgi/request.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "domain/http/forwarded.h"
#include "domain/http/origin.h"
#include "domain/http/query.h"
#include "domain/text/uuid.h"

#define KEY_MAX 128 /* characters */

const char *request_param(const struct request *r, const char *name)
{
	return FCGX_GetParam(name, r->fcgi->envp);
}

/* REQUEST_URI is what the client asked for, whatever the web server made of it on the way. */
static enum err set_path(struct request *r)
{
	const char *uri = request_param(r, "REQUEST_URI");
	struct buf path = BUF_EMPTY;
	enum err e;

	r->path[0] = '\0';
	if (uri && query_decode((struct span){uri, strcspn(uri, "?")}, false, &path) && path.len > 0 &&
	    path.len <= REQUEST_PATH_MAX)
		memcpy(r->path, path.bytes, path.len + 1);
	e = buf_ok(&path) ? OK : ERR_MEMORY;
	buf_free(&path);
	return e;
}

static struct span param_span(const struct request *r, const char *name)
{
	const char *value = request_param(r, name);

	return (struct span){value, value ? strlen(value) : 0};
}

static void set_ids(struct request *r)
{
	uint8_t random[UUID_BYTES] = {0};
	struct span traceparent = param_span(r, "HTTP_TRACEPARENT");

	r->trace_id[0] = '\0';
	if (traceparent.bytes)
		(void)request_id_trace(r->trace_id, traceparent);
	/* So many come whole, or not at all. */
	(void)!getrandom(random, sizeof(random), 0);
	request_id_choose(r->request_id, param_span(r, "HTTP_X_REQUEST_ID"), r->trace_id, random);
}

/*
 * FastCGI makes the same name of X-Forwarded-For and of X_Forwarded_For, which no proxy writes: where both are there neither
 * is believed.
 */
static struct header_list header_lines(const struct request *r, const char *name)
{
	static const char unknown[] = "unknown";
	struct header_list list = {0};
	size_t len = strlen(name);

	for (char **entry = r->fcgi->envp; *entry; entry++) {
		if (strncmp(*entry, name, len) != 0 || (*entry)[len] != '=')
			continue;
		list.lines[0] = (struct span){*entry + len + 1, strlen(*entry + len + 1)};
		if (list.count++ > 0)
			list = (struct header_list){.lines = {{unknown, sizeof(unknown) - 1}}, .count = 1};
	}
	return list;
}

static void set_client(struct request *r, const struct config *c)
{
	struct forwarded forwarded = {header_lines(r, "HTTP_X_FORWARDED_FOR"), header_lines(r, "HTTP_FORWARDED")};
	struct span text = param_span(r, "REMOTE_ADDR");
	struct address peer = {0}, client;

	/* A web server has a socket's path for an address, or a word. */
	if (text.len > 0 && !address_parse(&peer, text))
		peer.kind = text.bytes[0] == '/' || strncmp(text.bytes, "unix", 4) == 0 ? ADDRESS_UNIX : ADDRESS_NONE;
	forwarded_client(&client, &peer, &forwarded, c->trusted_proxies, (enum forwarded_header)c->proxy_header);
	address_text(r->client, &client);
}

enum err request_init(struct request *r, FCGX_Request *fcgi, const struct config *c, struct request_subject *about)
{
	const char *query = NULL;
	const char *origin = NULL;

	r->fcgi = fcgi;
	r->method = request_param(r, "REQUEST_METHOD");
	if (!r->method)
		r->method = "";
	query = request_param(r, "QUERY_STRING");
	r->query = query ? query : "";
	origin = request_param(r, "HTTP_ORIGIN");
	r->origin = origin && origin_allowed(c->allowed_origins, (struct span){origin, strlen(origin)}) ? origin : NULL;
	set_ids(r);
	set_client(r, c);
	r->about = about;
	about->subject = (struct log_subject){
		.client = r->client[0] ? r->client : NULL,
		.request_id = r->request_id,
		.trace_id = r->trace_id[0] ? r->trace_id : NULL,
	};
	return set_path(r);
}

void request_set_user(const struct request *r, const char *user_id)
{
	snprintf(r->about->user_id, sizeof(r->about->user_id), "%s", user_id);
	r->about->subject.user_id = r->about->user_id;
}

bool request_is_head(const struct request *r)
{
	return strcmp(r->method, "HEAD") == 0;
}

bool request_is_preflight(const struct request *r)
{
	return strcmp(r->method, "OPTIONS") == 0 && request_param(r, "HTTP_ACCESS_CONTROL_REQUEST_METHOD");
}

bool request_query(const struct request *r, const char *name, struct buf *value)
{
	return query_get((struct span){r->query, strlen(r->query)}, name, value);
}

bool request_token(const struct request *r, struct buf *token)
{
	static const char scheme[] = "Bearer ";
	const char *header = request_param(r, "HTTP_AUTHORIZATION");

	if (!header)
		return request_query(r, "token", token);
	if (strncasecmp(header, scheme, strlen(scheme)) != 0)
		return false;
	header += strlen(scheme);
	while (*header == ' ')
		header++;
	buf_add_text(token, header);
	return true;
}

static bool is_key(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	return len >= 1 && len <= KEY_MAX;
}

void request_idempotency_key(const struct request *r, const char **key, struct problem *problem)
{
	*key = request_param(r, "HTTP_IDEMPOTENCY_KEY");
	if (*key && !is_key(*key) && problem->status != 400)
		problem_add_field(problem, "", "Idempotency-Key", "must be 1 to 128 printable ASCII characters");
}

void request_fingerprint(const struct request *r, const struct buf *body, struct buf *out)
{
	buf_add_text(out, r->path);
	buf_add(out, "\n", 1);
	buf_add(out, body->bytes, body->len);
}

bool request_is_json(const struct request *r)
{
	const char *type = request_param(r, "CONTENT_TYPE");
	size_t len = type ? strcspn(type, ";") : 0;

	while (len > 0 && isspace((unsigned char)type[len - 1]))
		len--;
	return len == strlen("application/json") && strncasecmp(type, "application/json", len) == 0;
}

bool request_is_encoded(const struct request *r)
{
	const char *coding = request_param(r, "HTTP_CONTENT_ENCODING");

	return coding && coding[0] && strcasecmp(coding, "identity") != 0;
}

enum err request_length(const struct request *r, uint64_t *len)
{
	const char *text = request_param(r, "CONTENT_LENGTH");
	size_t digits = text ? strspn(text, "0123456789") : 0;
	uint64_t value = 0;

	if (digits == 0 || digits > 18 || text[digits] != '\0')
		return ERR_NOT_FOUND;
	for (size_t i = 0; i < digits; i++)
		value = value * 10 + (uint64_t)(text[i] - '0');
	*len = value;
	return OK;
}

enum err request_body(const struct request *r, size_t len, struct buf *body)
{
	char *bytes = buf_reserve(body, len);
	int got = 0;

	if (!bytes)
		return ERR_MEMORY;
	if (len > INT_MAX)
		return ERR_INPUT;
	got = FCGX_GetStr(bytes, (int)len, r->fcgi->in);
	FCGX_GetChar(r->fcgi->in); /* reads the record that ends it */
	return got == (int)len ? OK : ERR_INPUT;
}
