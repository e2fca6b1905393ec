#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "domain/http/request_head.h"

#define LINE "GET /ws/5 HTTP/1.1\r\n"
#define HOST "Host: a\r\n"
#define END "\r\n"
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define UPGRADE "Connection: Upgrade\r\nUpgrade: websocket\r\n"
#define WEBSOCKET UPGRADE "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n"

/* From memory that ends where the bytes end. The spans are not valid afterwards. */
static int status_of(const char *bytes, size_t len)
{
	char *exact = malloc(len + (len == 0));
	struct request_head r;
	struct request_scan scan = {0};
	int status;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	status = request_head_read(&r, exact, len, &scan);
	free(exact);
	return status;
}

/* Whole or in pieces, the answer is the same; before all has come it may only be a refusal. */
static void assert_status(const char *head, size_t len, int expected)
{
	struct request_head r;
	struct request_scan scan = {0};
	int last = -1;

	assert_int_equal(status_of(head, len), expected);
	for (size_t n = 1; n <= len && last == -1; n++)
		last = request_head_read(&r, head, n, &scan);
	assert_int_equal(last, expected);
	for (size_t n = 0; n < len; n++) {
		int status = status_of(head, n);

		assert_true(status == -1 || (expected > 0 && status == expected));
	}
}

static void assert_refused(const char *head, int status)
{
	assert_status(head, strlen(head), status);
}

static struct request_head read_good(const char *head)
{
	struct request_head r;
	struct request_scan scan = {0};

	assert_status(head, strlen(head), 0);
	assert_int_equal(request_head_read(&r, head, strlen(head), &scan), 0);
	return r;
}

static void assert_span(struct span s, const char *expected)
{
	if (!expected) {
		assert_null(s.bytes);
		return;
	}
	assert_non_null(s.bytes);
	assert_int_equal(s.len, strlen(expected));
	assert_memory_equal(s.bytes, expected, s.len);
}

static void assert_list_of(struct header_list list, const char *const *expected)
{
	struct span item;

	for (; *expected; expected++) {
		assert_true(header_list_next(&list, &item));
		assert_span(item, *expected);
	}
	assert_false(header_list_next(&list, &item));
}

static void finds_the_parts_of_a_request(void **state)
{
	struct request_head r =
		read_good("GET /ws/5?token=a?b&c=%41 HTTP/1.1\r\nhOsT:a\r\nAuthorization: \t Bearer x.y \t\r\n"
			  "sec-websocket-protocol: a, b\r\n" WEBSOCKET END);

	(void)state;
	assert_span(r.method, "GET");
	assert_span(r.path, "/ws/5");
	assert_span(r.query, "token=a?b&c=%41");
	assert_span(r.authorization, "Bearer x.y");
	assert_list_of(r.upgrade, (const char *const[]){"websocket", NULL});
	assert_span(r.websocket_key, KEY);
	assert_span(r.websocket_version, "13");
	assert_list_of(r.websocket_protocols, (const char *const[]){"a", "b", NULL});
	assert_int_equal(r.body_status, 0);
}

static void what_was_not_sent_is_not_there(void **state)
{
	struct request_head r = read_good("GET /? HTTP/1.1\r\nHost:\r\n\r\n");

	(void)state;
	assert_span(r.path, "/");
	assert_span(r.query, "");
	assert_span(r.authorization, NULL);
	assert_int_equal(r.upgrade.count, 0);
	r = read_good("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_span(r.query, NULL);
}

static void leaves_what_comes_after_the_head(void **state)
{
	static const char bytes[] = LINE HOST END "\x81\x80rest\r\n\r\n";
	struct request_head r;
	struct request_scan scan = {0};

	(void)state;
	assert_int_equal(request_head_read(&r, bytes, sizeof(bytes) - 1, &scan), 0);
	assert_int_equal(r.len, strlen(LINE HOST END));
}

static void refuses_a_malformed_request_line(void **state)
{
	static const char *const wrong[] = {
		"GET / HTTP/1.1 \r\n",
		"GET  / HTTP/1.1\r\n",
		" GET / HTTP/1.1\r\n",
		"GET /\r\n",
		"GET\r\n",
		"GET HTTP/1.1\r\n",
		"GET / HTTP/1.11\r\n",
		"GET / http/1.1\r\n",
		"GET / HTTP 1.1\r\n",
		"G(T / HTTP/1.1\r\n",
		"GET\t/ HTTP/1.1\r\n",
		"GET /\t HTTP/1.1\r\n",
		"GET /a b HTTP/1.1\r\n",
		"GET /#a HTTP/1.1\r\n",
		"GET /\x7f HTTP/1.1\r\n",
		"GET /\xc3\xa9 HTTP/1.1\r\n",
		"GET a HTTP/1.1\r\n",
		"GET * HTTP/1.1\r\n",
		"\r\n\r\nGET / HTTP/1.1\r\n",
		"GET / \r\n",
		"GET / HTTP/1.1\rX: y\r\n",
		"GET http:///ws/5 HTTP/1.1\r\n",
		"CONNECT a:80 HTTP/1.1\r\n",
		"\r\n\r\n",
		"GET ftp://a/ws/5 HTTP/1.1\r\n",
		"GET http://u@a/ HTTP/1.1\r\n",
		"GET http://a:99999/ HTTP/1.1\r\n",
		"GET http:/a HTTP/1.1\r\n",
	};
	char head[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		size_t len = strlen(wrong[i]);

		memcpy(head, wrong[i], len);
		memcpy(head + len, HOST END, sizeof(HOST END));
		assert_refused(head, 400);
	}
}

static void a_target_has_any_visible_character_but_the_hash(void **state)
{
	(void)state;
	for (unsigned c = 1; c < 256; c++) {
		char head[] = "GET /a HTTP/1.1\r\n" HOST END;

		head[5] = (char)c;
		assert_status(head, strlen(head), c > ' ' && c < 0x7f && c != '#' ? 0 : 400);
	}
}

/* `start`, so many x, `end`. */
static char *padded(const char *start, size_t count, const char *end)
{
	size_t start_len = strlen(start), end_len = strlen(end);
	char *text = malloc(start_len + count + end_len + 1);

	assert_non_null(text);
	memcpy(text, start, start_len);
	memset(text + start_len, 'x', count);
	memcpy(text + start_len + count, end, end_len + 1);
	return text;
}

static void takes_the_target_that_a_proxy_is_sent(void **state)
{
	struct request_head r = read_good("GET HTTP://a.example:80/ws/5?x=1 HTTP/1.1\r\n" HOST END);

	(void)state;
	assert_span(r.path, "/ws/5");
	assert_span(r.query, "x=1");
	r = read_good("GET https://[::1]?x HTTP/1.1\r\n" HOST END);
	assert_span(r.path, "/");
	assert_span(r.query, "x");
	r = read_good("GET http://a HTTP/1.1\r\n" HOST END);
	assert_span(r.path, "/");
	assert_span(r.query, NULL);
}

static void passes_over_one_empty_line_before_the_head(void **state)
{
	struct request_head r = read_good("\r\n" LINE HOST END);

	(void)state;
	assert_span(r.path, "/ws/5");
	assert_int_equal(r.len, strlen("\r\n" LINE HOST END));
}

static void refuses_a_host_that_is_none(void **state)
{
	static const char *const right[] = {"",	   "a",	 "a.example:80", "a:", "[::1]", "[::1]:8000", "127.0.0.1:65535",
					    "%41", "a_b"};
	static const char *const wrong[] = {"a b",     "a/b",  "[::1",	"[]",  "[::1]x", "a:99999",
					    "a:65536", "a:8x", "a:1:2", "a@b", "a?",	 "::1"};
	char head[512];
	char *text = padded(LINE "Host: ", 256, "\r\n\r\n");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(right); i++) {
		snprintf(head, sizeof(head), LINE "Host: %s\r\n\r\n", right[i]);
		(void)read_good(head);
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		snprintf(head, sizeof(head), LINE "Host: %s\r\n\r\n", wrong[i]);
		assert_refused(head, 400);
	}
	assert_refused(text, 400);
	free(text);
}

static void joins_the_lines_of_a_list(void **state)
{
	struct request_head r =
		read_good(LINE HOST "Connection: keep-alive\r\nUpgrade: h2c\r\nSec-WebSocket-Protocol: chat\r\n"
				    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol:\r\n"
				    "Sec-WebSocket-Protocol: x, tidings\r\nSec-WebSocket-Extensions: a\r\n"
				    "Sec-WebSocket-Extensions: b\r\nSec-WebSocket-Version: 13\r\n"
				    "Sec-WebSocket-Key: " KEY "\r\n\r\n");

	(void)state;
	assert_true(request_head_is_websocket(&r));
	assert_list_of(r.websocket_protocols, (const char *const[]){"chat", "x", "tidings", NULL});
	assert_list_of(r.websocket_extensions, (const char *const[]){"a", "b", NULL});
	assert_refused(LINE HOST "Connection: a\r\nConnection: b\r\nConnection: c\r\nConnection: d\r\n"
				 "Connection: e\r\n\r\n",
		       400);
	assert_false(read_good(LINE HOST "Connection: x\r\nConnection: close\r\n\r\n").keep_alive);
}

static void knows_what_a_proxy_sends_for_somebody(void **state)
{
	(void)state;
	assert_false(read_good(LINE HOST "X-Forwarded: a\r\n\r\n").by_proxy);
	assert_true(read_good(LINE HOST "x-forwarded-FOR: 10.0.0.1\r\nX-Forwarded-For: b\r\n\r\n").by_proxy);
	assert_true(read_good(LINE HOST "Forwarded: for=10.0.0.1\r\n\r\n").by_proxy);
	assert_true(read_good(LINE HOST "X-Real-IP: 10.0.0.1\r\n\r\n").by_proxy);
	assert_true(read_good(LINE HOST "Via: 1.1 a\r\n\r\n").by_proxy);
}

static void finds_what_proxies_say_of_a_request(void **state)
{
	struct request_head r =
		read_good(LINE HOST "X-Forwarded-For: a\r\nforwarded: for=b\r\nx-forwarded-for: c, d\r\n"
				    "X_Forwarded_For: e\r\nX-Request-ID: f g\r\ntraceparent: h\r\n\r\n");

	(void)state;
	assert_list_of(r.forwarded.x_forwarded_for, (const char *const[]){"a", "c", "d", NULL});
	assert_list_of(r.forwarded.forwarded, (const char *const[]){"for=b", NULL});
	assert_list_of(r.request_id, (const char *const[]){"f g", NULL});
	assert_list_of(r.traceparent, (const char *const[]){"h", NULL});
}

static void refuses_another_version(void **state)
{
	(void)state;
	(void)read_good("GET / HTTP/1.2\r\nHost: a\r\n\r\n");
	assert_refused("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 505);
	assert_refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
	assert_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400);
}

static void refuses_what_two_readers_may_read_differently(void **state)
{
	static const char *const wrong[] = {
		LINE HOST "X : 1\r\n\r\n",
		LINE HOST "X\t: 1\r\n\r\n",
		LINE HOST " X: 1\r\n\r\n",
		LINE HOST "X: 1\r\n 2\r\n\r\n",
		LINE HOST "X: 1\r\n\t2\r\n\r\n",
		LINE HOST "X: 1\r\n \r\n\r\n",
		LINE HOST "X: 1\nY: 2\r\n\r\n",
		LINE HOST "X: 1\rY: 2\r\n\r\n",
		LINE HOST "X: 1\r\r\n\r\n",
		LINE HOST "\nX: 1\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\r\n\r\n",
		LINE HOST "X\r\n\r\n",
		LINE HOST ": 1\r\n\r\n",
		LINE HOST "X(: 1\r\n\r\n",
		LINE HOST "X\xc3\xa9: 1\r\n\r\n",
		LINE HOST "X: a\x01\r\n\r\n",
		LINE HOST "X: a\x7f\r\n\r\n",
		LINE HOST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
		LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
		LINE HOST "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
		LINE HOST "Content-Length: 0\r\ncontent-length: 5\r\n\r\n",
		LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
		LINE HOST "Host: b\r\n\r\n",
		LINE HOST HOST END,
		LINE "\r\n",
		LINE HOST "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
		LINE HOST WEBSOCKET "Sec-WebSocket-Key: " KEY "\r\n\r\n",
		LINE HOST WEBSOCKET "Sec-WebSocket-Version: 8\r\n\r\n",
	};
	static const char nul_value[] = LINE HOST "X: a\0b\r\n\r\n", nul_name[] = LINE HOST "X\0: a\r\n\r\n",
			  nul_path[] = "GET /\0 HTTP/1.1\r\n" HOST END;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_refused(wrong[i], 400);
	assert_status(nul_value, sizeof(nul_value) - 1, 400);
	assert_status(nul_name, sizeof(nul_name) - 1, 400);
	assert_status(nul_path, sizeof(nul_path) - 1, 400);
}

static void a_bare_line_feed_is_refused_at_once(void **state)
{
	(void)state;
	assert_refused("GET / HTTP/1.1\nHost: a\n\n", 400);
	assert_refused("GET / HTTP/1.1\r\nHost: a\r\n\n", 400);
	assert_refused("GET / HTTP/1.1\r\nHost: a\n\r\n", 400);
	assert_int_equal(status_of("G\n", 2), 400);
}

static void tells_how_it_refuses_a_body(void **state)
{
	(void)state;
	assert_int_equal(read_good(LINE HOST "Content-Length: 0\r\n\r\n").body_status, 0);
	assert_int_equal(read_good(LINE HOST "Content-Length: 000\r\n\r\n").body_status, 0);
	assert_int_equal(read_good(LINE HOST "Content-Length: 1\r\n\r\n").body_status, 413);
	assert_int_equal(read_good(LINE HOST "Content-Length: 99999999999999999999\r\n\r\n").body_status, 413);
	assert_int_equal(read_good(LINE HOST "Transfer-Encoding: chunked\r\n\r\n").body_status, 411);
	assert_int_equal(read_good(LINE HOST "Transfer-Encoding: gzip, Chunked\r\n\r\n").body_status, 411);
}

/* RFC 9112, section 6.3. These were answered as a body that is too large, or without a length. */
static void refuses_a_body_whose_end_nobody_can_tell(void **state)
{
	static const char *const lengths[] = {"", "-1", "+0", "0x0", "0, 0", "0, 5", "1 1", "5;", "a"};
	static const char *const codings[] = {"",	  "identity", "gzip", "chunked, gzip",
					      "xchunked", "chunked;", ",",    "chunked, x"};
	char head[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		snprintf(head, sizeof(head), LINE HOST "Content-Length: %s\r\n\r\n", lengths[i]);
		assert_refused(head, 400);
	}
	for (size_t i = 0; i < ARRAY_LEN(codings); i++) {
		snprintf(head, sizeof(head), LINE HOST "Transfer-Encoding: %s\r\n\r\n", codings[i]);
		assert_refused(head, 400);
	}
}

static void refuses_what_is_too_large_at_its_limit(void **state)
{
	size_t around = strlen(LINE HOST "X: \r\n\r\n");
	char *text = padded(LINE HOST "X: ", REQUEST_HEAD_MAX - around, "\r\n\r\n");

	(void)state;
	assert_int_equal(strlen(text), REQUEST_HEAD_MAX);
	assert_int_equal(status_of(text, REQUEST_HEAD_MAX), 0);
	assert_int_equal(status_of(text, REQUEST_HEAD_MAX - 1), -1);
	free(text);
	text = padded(LINE HOST "X: ", REQUEST_HEAD_MAX - around + 1, "\r\n\r\n");
	assert_int_equal(status_of(text, REQUEST_HEAD_MAX + 1), 431);
	assert_int_equal(status_of(text, REQUEST_HEAD_MAX), 431);
	assert_int_equal(status_of(text, REQUEST_HEAD_MAX - 1), -1);
	free(text);
	text = padded("GET /", 24575, " HTTP/1.1\r\n" HOST END);
	assert_int_equal(status_of(text, strlen(text)), 0);
	free(text);
	text = padded("GET /", 24576, " HTTP/1.1\r\n" HOST END);
	assert_int_equal(status_of(text, strlen(text)), 414);
	free(text);
}

static void refuses_more_than_a_hundred_headers(void **state)
{
	char head[2048] = LINE HOST;
	size_t len = strlen(head);

	(void)state;
	for (unsigned n = 1; n < 100; n++, len += 5)
		memcpy(head + len, "X:1\r\n", 5);
	memcpy(head + len, END, 2);
	assert_int_equal(status_of(head, len + 2), 0);
	/* At once, and not when its end has come. */
	memcpy(head + len, "X:1\r\n\r\n", 7);
	assert_status(head, len + 5, 431);
	assert_status(head, len + 7, 431);
}

static void what_can_be_no_head_is_refused_at_once(void **state)
{
	(void)state;
	assert_int_equal(status_of("", 0), -1);
	assert_int_equal(status_of("\x16\x03\x01", 3), 400); /* TLS */
	assert_int_equal(status_of("\0", 1), 400);
	assert_int_equal(status_of("\r", 1), -1);
	assert_int_equal(status_of("\r\n", 2), -1);
	assert_int_equal(status_of("\rG", 2), 400);
	assert_int_equal(status_of("\n", 1), 400);
}

static void knows_a_websocket(void **state)
{
	struct request_head r = read_good(LINE HOST WEBSOCKET END);

	(void)state;
	assert_true(request_head_is_websocket(&r));
	/* Names are in any case, and Connection is a list: Firefox sends it so. */
	r = read_good(LINE HOST
		      "connection: keep-alive,UPGRADE\r\nupgrade: h2c, WebSocket\r\nSEC-WEBSOCKET-VERSION: 13\r\n"
		      "sec-websocket-key: " KEY "\r\n\r\n");
	assert_true(request_head_is_websocket(&r));
}

/* RFC 6455, section 4.2.1. A method in lower case and a key that is no base64 were let through. */
static void a_handshake_lacks_nothing(void **state)
{
	static const char *const wrong[] = {
		LINE HOST END,
		LINE HOST "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
		LINE HOST
		"Connection: keep-alive\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY
		"\r\n\r\n",
		LINE HOST "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
		LINE HOST "Connection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY
			  "\r\n\r\n",
		LINE HOST UPGRADE "Sec-WebSocket-Key: " KEY "\r\n\r\n",
		LINE HOST UPGRADE "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
		LINE HOST UPGRADE "Sec-WebSocket-Version: 13, 8\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
		LINE HOST UPGRADE "Sec-WebSocket-Version: 13\r\n\r\n",
		LINE HOST UPGRADE "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key:\r\n\r\n",
		LINE HOST UPGRADE "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n\r\n",
		LINE HOST UPGRADE "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n\r\n",
		LINE HOST UPGRADE "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBs,SBub25jZQ==\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST WEBSOCKET END,
		"get / HTTP/1.1\r\n" HOST WEBSOCKET END,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct request_head r = read_good(wrong[i]);

		assert_false(request_head_is_websocket(&r));
	}
}

static void assert_bearer(const char *authorization, const char *expected)
{
	struct request_head r = {.authorization = {authorization, strlen(authorization)}};

	assert_span(request_head_bearer(&r), expected);
}

static void finds_the_bearer(void **state)
{
	struct request_head r = read_good(LINE HOST "Authorization: Bearer   \r\n\r\n");

	(void)state;
	assert_span(request_head_bearer(&r), NULL);
	assert_bearer("Bearer a.b.c", "a.b.c");
	assert_bearer("bEARER   a.b.c", "a.b.c");
	assert_bearer("Bearer", NULL);
	assert_bearer("Bearera.b.c", NULL);
	assert_bearer("Basic YTpi", NULL);
	r.authorization = (struct span){0};
	assert_span(request_head_bearer(&r), NULL);
}

static void assert_list(const char *text, const char *const *expected)
{
	struct span list = {text, strlen(text)}, item;

	for (; *expected; expected++) {
		assert_true(list_next(&list, ',', &item));
		assert_span(item, *expected);
	}
	assert_false(list_next(&list, ',', &item));
	assert_false(list_next(&list, ',', &item));
}

static void goes_through_a_list(void **state)
{
	struct span none = {0}, item;

	(void)state;
	assert_false(list_next(&none, ',', &item));
	assert_list("", (const char *const[]){NULL});
	assert_list(" , ,\t,", (const char *const[]){NULL});
	assert_list("a", (const char *const[]){"a", NULL});
	assert_list(" a b ,\tc,", (const char *const[]){"a b", "c", NULL});
	assert_list(",,a,,b", (const char *const[]){"a", "b", NULL});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_parts_of_a_request),
		cmocka_unit_test(what_was_not_sent_is_not_there),
		cmocka_unit_test(leaves_what_comes_after_the_head),
		cmocka_unit_test(refuses_a_malformed_request_line),
		cmocka_unit_test(a_target_has_any_visible_character_but_the_hash),
		cmocka_unit_test(takes_the_target_that_a_proxy_is_sent),
		cmocka_unit_test(passes_over_one_empty_line_before_the_head),
		cmocka_unit_test(refuses_a_host_that_is_none),
		cmocka_unit_test(joins_the_lines_of_a_list),
		cmocka_unit_test(knows_what_a_proxy_sends_for_somebody),
		cmocka_unit_test(finds_what_proxies_say_of_a_request),
		cmocka_unit_test(refuses_another_version),
		cmocka_unit_test(refuses_what_two_readers_may_read_differently),
		cmocka_unit_test(a_bare_line_feed_is_refused_at_once),
		cmocka_unit_test(tells_how_it_refuses_a_body),
		cmocka_unit_test(refuses_a_body_whose_end_nobody_can_tell),
		cmocka_unit_test(refuses_what_is_too_large_at_its_limit),
		cmocka_unit_test(refuses_more_than_a_hundred_headers),
		cmocka_unit_test(what_can_be_no_head_is_refused_at_once),
		cmocka_unit_test(knows_a_websocket),
		cmocka_unit_test(a_handshake_lacks_nothing),
		cmocka_unit_test(finds_the_bearer),
		cmocka_unit_test(goes_through_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
