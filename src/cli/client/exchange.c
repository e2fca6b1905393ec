#include "cli/client/exchange.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define BODY_MAX 4194304 /* bytes */
#define LOOK_MS 200	 /* at the deadline */

struct exchange {
	CURLM *multi;		    /* owned */
	CURL *easy;		    /* owned */
	struct curl_slist *headers; /* owned */
	struct buf body;	    /* owned */
	bool ended;
	CURLcode outcome; /* once it has ended */
	char problem[CURL_ERROR_SIZE];
};

void exchange_add_url(struct buf *out, const char *server, const char *path)
{
	size_t len = strlen(server);

	while (len > 0 && server[len - 1] == '/')
		len--;
	buf_add(out, server, len);
	buf_add_text(out, path);
}

static size_t take(char *bytes, size_t size, size_t count, void *context)
{
	struct exchange *x = context;

	buf_add(&x->body, bytes, size * count);
	return buf_ok(&x->body) && x->body.len <= BODY_MAX ? size * count : 0;
}

/* `before` and `value` together are the header's line. */
static bool add_header(struct exchange *x, const char *before, const char *value)
{
	struct buf line = BUF_EMPTY;
	struct curl_slist *more = NULL;

	buf_printf(&line, "%s%s", before, value);
	if (buf_ok(&line))
		more = curl_slist_append(x->headers, line.bytes);
	if (line.bytes)
		explicit_bzero(line.bytes, line.len);
	buf_free(&line);
	x->headers = more ? more : x->headers;
	return more;
}

static enum err prepare(struct exchange *x, const struct exchange_request *r)
{
	bool good = true;

	if (r->token)
		good = add_header(x, "Authorization: Bearer ", r->token);
	if (good && r->body)
		good = add_header(x, "Content-Type: ", "application/json");
	if (!good)
		return ERR_MEMORY;
	good = curl_easy_setopt(x->easy, CURLOPT_URL, r->url) == CURLE_OK &&
	       curl_easy_setopt(x->easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
	       curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, r->method) == CURLE_OK &&
	       (!r->socket || curl_easy_setopt(x->easy, CURLOPT_UNIX_SOCKET_PATH, r->socket) == CURLE_OK) &&
	       (!r->body || curl_easy_setopt(x->easy, CURLOPT_COPYPOSTFIELDS, r->body) == CURLE_OK) &&
	       curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers) == CURLE_OK &&
	       curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
	       curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x) == CURLE_OK &&
	       curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->problem) == CURLE_OK &&
	       curl_easy_setopt(x->easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
	return good ? OK : ERR_INPUT;
}

enum err exchange_begin(struct exchange **out, const struct exchange_request *r)
{
	struct exchange *x = calloc(1, sizeof(*x));
	enum err e = ERR_MEMORY;

	*out = x;
	if (!x)
		return e;
	x->multi = curl_multi_init();
	x->easy = curl_easy_init();
	if (x->multi && x->easy)
		e = prepare(x, r);
	if (e == OK && curl_multi_add_handle(x->multi, x->easy) != CURLM_OK)
		e = ERR_MEMORY;
	if (e != OK)
		exchange_end(out);
	return e;
}

/* Whether the request has left, as far as libcurl tells: whatever is left of it leaves when libcurl runs once more. */
static bool is_sent(struct exchange *x)
{
	long bytes = 0;

	return curl_easy_getinfo(x->easy, CURLINFO_REQUEST_SIZE, &bytes) == CURLE_OK && bytes > 0;
}

static bool is_there(struct exchange *x, enum exchange_point point, size_t had)
{
	switch (point) {
	case EXCHANGE_SENT:
		return is_sent(x);
	case EXCHANGE_MORE:
		return x->body.len > had;
	case EXCHANGE_ENDED:
		break;
	}
	return false;
}

static void look_whether_ended(struct exchange *x)
{
	int left = 0;
	const CURLMsg *message = NULL;

	while ((message = curl_multi_info_read(x->multi, &left))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		x->ended = true;
		x->outcome = message->data.result;
	}
}

enum err exchange_run(struct exchange *x, enum exchange_point point, int64_t until_ms)
{
	size_t had = x->body.len;

	for (;;) {
		int running = 0;
		int64_t left_ms = until_ms - clock_monotonic_ms();

		if (!x->ended && curl_multi_perform(x->multi, &running) != CURLM_OK)
			return ERR_AWAY;
		look_whether_ended(x);
		if (x->ended && x->outcome != CURLE_OK)
			return ERR_AWAY;
		if (x->ended || is_there(x, point, had))
			return OK;
		if (left_ms <= 0)
			return ERR_EVICTED;
		if (curl_multi_poll(x->multi, NULL, 0, (int)MIN(left_ms, LOOK_MS), NULL) != CURLM_OK)
			return ERR_AWAY;
	}
}

long exchange_status(const struct exchange *x)
{
	long status = 0;

	(void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

const struct buf *exchange_body(const struct exchange *x)
{
	return &x->body;
}

const char *exchange_type(const struct exchange *x)
{
	char *type = NULL;

	(void)curl_easy_getinfo(x->easy, CURLINFO_CONTENT_TYPE, &type);
	return type ? type : "";
}

const char *exchange_problem(const struct exchange *x)
{
	return *x->problem ? x->problem : curl_easy_strerror(x->outcome);
}

void exchange_end(struct exchange **out)
{
	struct exchange *x = *out;

	if (!x)
		return;
	if (x->multi && x->easy)
		(void)curl_multi_remove_handle(x->multi, x->easy);
	curl_easy_cleanup(x->easy);
	(void)curl_multi_cleanup(x->multi);
	curl_slist_free_all(x->headers);
	buf_free(&x->body);
	free(x);
	*out = NULL;
}
