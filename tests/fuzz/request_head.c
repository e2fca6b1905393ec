#include <string.h>

#include "domain/http/query.h"
#include "domain/http/request_head.h"
#include "tests/fuzz/fuzz.h"

static void check_span(struct span s, const char *bytes, size_t len)
{
	MUST_HOLD(!s.bytes || (s.bytes >= bytes && s.bytes + s.len <= bytes + len));
	/* Nothing that could end a line where it is passed on. */
	MUST_HOLD(s.len == 0 ||
		  (!memchr(s.bytes, '\r', s.len) && !memchr(s.bytes, '\n', s.len) && !memchr(s.bytes, '\0', s.len)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *bytes = (const char *)data;
	struct request_head r, again;
	struct buf token = BUF_EMPTY;
	struct header_list list;
	struct span item;
	struct request_scan scan = {0}, again_scan = {0};
	int status = request_head_read(&r, bytes, len, &scan);

	MUST_HOLD(status == 0 || status == -1 || (status >= 400 && status <= 505));
	if (status != 0)
		return 0;
	MUST_HOLD(r.len >= 4 && r.len <= MIN(len, REQUEST_HEAD_MAX));
	MUST_HOLD(memcmp(bytes + r.len - 4, "\r\n\r\n", 4) == 0);
	MUST_HOLD(r.path.len > 0 && r.path.bytes[0] == '/');
	check_span(r.method, bytes, r.len);
	check_span(r.path, bytes, r.len);
	check_span(r.query, bytes, r.len);
	check_span(r.authorization, bytes, r.len);
	check_span(r.websocket_key, bytes, r.len);
	check_span(r.websocket_version, bytes, r.len);
	check_span(request_head_bearer(&r), bytes, r.len);
	MUST_HOLD(!request_head_is_websocket(&r) || r.websocket_key.len == 24);
	for (list = r.websocket_protocols; header_list_next(&list, &item);) {
		check_span(item, bytes, r.len);
		MUST_HOLD(item.len > 0);
	}
	if (query_get(r.query, "token", &token))
		MUST_HOLD(token.len == 0 || strlen(token.bytes) == token.len);
	buf_free(&token);
	/* A byte less is no head yet, and what follows is not looked at. */
	MUST_HOLD(request_head_read(&again, bytes, r.len - 1, &again_scan) == -1);
	MUST_HOLD(request_head_read(&again, bytes, r.len, &again_scan) == 0);
	return 0;
}
