#include "cli/client/websocket_client.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "domain/websocket/handshake.h"

#define KEY_BYTES 16
#define KEY_TEXT_SIZE 25 /* of 16 bytes in base64, with its NUL */
#define HEAD_MAX 16384	 /* bytes */
#define MESSAGE_MAX 4194304
#define CONTROL_MAX 125
#define MASK_BYTES 4

enum client_opcode { OPCODE_MORE = 0, OPCODE_TEXT = 1, OPCODE_CLOSE = 8, OPCODE_PING = 9 };

struct websocket_client {
	CURL *easy;	    /* owned */
	struct buf bytes;   /* owned: come, and not read */
	struct buf message; /* owned: the fragments so far */
	bool open;
	char problem[CURL_ERROR_SIZE];
};

struct header {
	enum client_opcode opcode;
	bool last;
	size_t header_bytes, payload_bytes;
};

static void set_problem(struct websocket_client *w, const char *problem, const char *more, size_t len)
{
	snprintf(w->problem, sizeof(w->problem), "%s%.*s", problem, (int)len, more);
}

/* False: not until then. */
static bool wait_for(struct websocket_client *w, short events, int64_t until_ms)
{
	struct pollfd p = {.fd = -1, .events = events};
	curl_socket_t socket = CURL_SOCKET_BAD;
	int64_t left_ms = until_ms - clock_monotonic_ms();

	if (left_ms <= 0 || curl_easy_getinfo(w->easy, CURLINFO_ACTIVESOCKET, &socket) != CURLE_OK)
		return false;
	p.fd = socket;
	return poll(&p, 1, (int)left_ms) != 0;
}

static enum err send_all(struct websocket_client *w, const char *bytes, size_t len, int64_t until_ms)
{
	while (len > 0) {
		size_t sent = 0;
		CURLcode outcome = curl_easy_send(w->easy, bytes, len, &sent);

		if (outcome == CURLE_AGAIN && !wait_for(w, POLLOUT, until_ms))
			return ERR_EVICTED;
		if (outcome != CURLE_OK && outcome != CURLE_AGAIN) {
			set_problem(w, curl_easy_strerror(outcome), "", 0);
			return ERR_AWAY;
		}
		bytes += sent;
		len -= sent;
	}
	return OK;
}

/* More bytes than there are. From `until_ms` on there are none, however many come. */
static enum err receive(struct websocket_client *w, int64_t until_ms)
{
	while (clock_monotonic_ms() < until_ms) {
		char chunk[16384];
		size_t len = 0;
		CURLcode outcome = curl_easy_recv(w->easy, chunk, sizeof(chunk), &len);

		if (outcome == CURLE_OK && len > 0) {
			buf_add(&w->bytes, chunk, len);
			return buf_ok(&w->bytes) ? OK : ERR_MEMORY;
		}
		if (outcome != CURLE_AGAIN) {
			set_problem(w, outcome == CURLE_OK ? "the connection ended" : curl_easy_strerror(outcome), "",
				    0);
			return ERR_AWAY;
		}
		if (!wait_for(w, POLLIN, until_ms))
			break;
	}
	return ERR_EVICTED;
}

static enum err add_request(struct websocket_client *w, const char *token, const char *key, struct buf *out)
{
	CURLU *url = curl_url();
	char *host = NULL, *port = NULL, *path = NULL, *query = NULL;
	char *effective = NULL;
	bool good = url && curl_easy_getinfo(w->easy, CURLINFO_EFFECTIVE_URL, &effective) == CURLE_OK &&
		    curl_url_set(url, CURLUPART_URL, effective, 0) == CURLUE_OK &&
		    curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		    curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK;

	if (good) {
		(void)curl_url_get(url, CURLUPART_PORT, &port, 0);
		(void)curl_url_get(url, CURLUPART_QUERY, &query, 0);
		buf_printf(out,
			   "GET %s%s%s HTTP/1.1\r\nHost: %s%s%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n",
			   path, query ? "?" : "", query ? query : "", host, port ? ":" : "", port ? port : "", key);
		if (token)
			buf_printf(out, "Authorization: Bearer %s\r\n", token);
		buf_add_text(out, "\r\n");
	}
	curl_free(host);
	curl_free(port);
	curl_free(path);
	curl_free(query);
	curl_url_cleanup(url);
	return good && buf_ok(out) ? OK : ERR_MEMORY;
}

static const char *end_of_head(const struct buf *bytes)
{
	const char *end = bytes->len > 0 ? memmem(bytes->bytes, bytes->len, "\r\n\r\n", 4) : NULL;

	return end ? end + 4 : NULL;
}

/* Of the reply that is made here for the same key: what the server's has to have. */
static bool proves(const char *head, const char *key)
{
	static const char name[] = "Sec-WebSocket-Accept: ";
	struct buf own = BUF_EMPTY;
	const char *line = NULL;
	bool good = false;

	handshake_add(&own, (struct span){key, strlen(key)}, NULL, NULL, NULL);
	line = buf_ok(&own) ? strstr(own.bytes, name) : NULL;
	if (line) {
		const char *value = line + strlen(name);
		size_t len = strcspn(value, "\r");
		const char *theirs = strcasestr(head, "\r\nSec-WebSocket-Accept:");

		theirs = theirs ? strchr(theirs + 2, ':') + 1 : "";
		theirs += strspn(theirs, " ");
		good = strncmp(theirs, value, len) == 0;
	}
	buf_free(&own);
	return good;
}

static enum err shake_hands(struct websocket_client *w, const char *token, int64_t until_ms)
{
	unsigned char random[KEY_BYTES];
	char key[KEY_TEXT_SIZE];
	struct buf request = BUF_EMPTY;
	const char *end = NULL;
	enum err e = RAND_bytes(random, sizeof(random)) == 1 ? OK : ERR_MEMORY;

	EVP_EncodeBlock((unsigned char *)key, random, sizeof(random));
	if (e == OK)
		e = add_request(w, token, key, &request);
	if (e == OK)
		e = send_all(w, request.bytes, request.len, until_ms);
	if (request.bytes)
		explicit_bzero(request.bytes, request.len);
	buf_free(&request);
	while (e == OK && !(end = end_of_head(&w->bytes)))
		e = w->bytes.len > HEAD_MAX ? ERR_AWAY : receive(w, until_ms);
	if (e != OK)
		return e;
	if (strncmp(w->bytes.bytes, "HTTP/1.1 101 ", 13) != 0) {
		set_problem(w, "no upgrade: ", w->bytes.bytes, strcspn(w->bytes.bytes, "\r"));
		return ERR_AWAY;
	}
	if (!proves(w->bytes.bytes, key)) {
		set_problem(w, "no WebSocket: its Sec-WebSocket-Accept is wrong", "", 0);
		return ERR_AWAY;
	}
	buf_drop(&w->bytes, (size_t)(end - w->bytes.bytes));
	w->open = true;
	return OK;
}

static enum err connect_to(struct websocket_client *w, const char *url, int64_t until_ms)
{
	CURLcode outcome = curl_easy_setopt(w->easy, CURLOPT_URL, url);

	if (outcome == CURLE_OK)
		outcome = curl_easy_setopt(w->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	if (outcome == CURLE_OK)
		outcome = curl_easy_setopt(w->easy, CURLOPT_CONNECT_ONLY, 1L);
	if (outcome == CURLE_OK)
		outcome = curl_easy_setopt(w->easy, CURLOPT_ERRORBUFFER, w->problem);
	if (outcome == CURLE_OK)
		outcome = curl_easy_setopt(w->easy, CURLOPT_NOSIGNAL, 1L);
	/* With TLS a server may agree to HTTP/2, in which there is no such upgrade. */
	if (outcome == CURLE_OK)
		outcome = curl_easy_setopt(w->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	if (outcome == CURLE_OK)
		outcome = curl_easy_setopt(w->easy, CURLOPT_CONNECTTIMEOUT_MS,
					   (long)MAX(1, until_ms - clock_monotonic_ms()));
	if (outcome == CURLE_OK)
		outcome = curl_easy_perform(w->easy);
	if (outcome != CURLE_OK && *w->problem == '\0')
		set_problem(w, curl_easy_strerror(outcome), "", 0);
	return outcome == CURLE_OK ? OK : outcome == CURLE_OPERATION_TIMEDOUT ? ERR_EVICTED : ERR_AWAY;
}

enum err websocket_client_open(struct websocket_client **out, const char *url, const char *token, int64_t until_ms)
{
	struct websocket_client *w = calloc(1, sizeof(*w));
	enum err e = ERR_MEMORY;

	*out = w;
	if (w)
		w->easy = curl_easy_init();
	if (w && w->easy)
		e = connect_to(w, url, until_ms);
	return e == OK ? shake_hands(w, token, until_ms) : e;
}

/* False: not all of it has come. */
static bool read_header(const struct buf *bytes, struct header *h)
{
	const uint8_t *b = (const uint8_t *)bytes->bytes;
	size_t more = 0;
	uint64_t len = 0;

	if (bytes->len < 2)
		return false;
	len = b[1] & 0x7f;
	more = len == 126 ? 2 : len == 127 ? 8 : 0;
	if (bytes->len < 2 + more)
		return false;
	for (size_t i = 0; i < more; i++)
		len = (i == 0 ? 0 : len << 8) | b[2 + i];
	*h = (struct header){(enum client_opcode)(b[0] & 0x0f), (b[0] & 0x80) != 0, 2 + more,
			     (size_t)MIN(len, SIZE_MAX / 2)};
	return true;
}

/* A control frame, masked as a client's is. Its payload is at most CONTROL_MAX bytes. */
static enum err say(struct websocket_client *w, enum client_opcode opcode, const char *payload, size_t len,
		    int64_t until_ms)
{
	unsigned char bytes[2 + MASK_BYTES + CONTROL_MAX];
	unsigned char *mask = bytes + 2;

	bytes[0] = (unsigned char)(0x80 | opcode);
	bytes[1] = (unsigned char)(0x80 | len);
	if (RAND_bytes(mask, MASK_BYTES) != 1)
		return ERR_MEMORY;
	for (size_t i = 0; i < len; i++)
		bytes[2 + MASK_BYTES + i] = (unsigned char)(payload[i] ^ mask[i % MASK_BYTES]);
	return send_all(w, (const char *)bytes, 2 + MASK_BYTES + len, until_ms);
}

static enum err too_large(struct websocket_client *w)
{
	set_problem(w, "a message of more than 4 MiB", "", 0);
	return ERR_TOO_LARGE;
}

/*
 * What a whole frame says.
 *
 *	whole	out: w->message is a whole one
 */
static enum err take_frame(struct websocket_client *w, const struct header *h, int64_t until_ms, bool *whole)
{
	const char *payload = w->bytes.bytes + h->header_bytes;
	const uint8_t *code = (const uint8_t *)payload;
	char before[32] = "closed";

	*whole = false;
	if (h->opcode == OPCODE_PING)
		return say(w, (enum client_opcode)(OPCODE_PING + 1), payload, MIN(h->payload_bytes, CONTROL_MAX),
			   until_ms);
	if (h->opcode == OPCODE_CLOSE) {
		if (h->payload_bytes >= 2)
			snprintf(before, sizeof(before), "closed with %d ", code[0] << 8 | code[1]);
		set_problem(w, before, payload + MIN(h->payload_bytes, 2), h->payload_bytes - MIN(h->payload_bytes, 2));
		return ERR_NOT_FOUND;
	}
	if (h->opcode == OPCODE_TEXT || h->opcode == OPCODE_MORE) {
		if (w->message.len + h->payload_bytes > MESSAGE_MAX)
			return too_large(w);
		buf_add(&w->message, payload, h->payload_bytes);
		*whole = h->last;
	}
	return buf_ok(&w->message) ? OK : ERR_MEMORY;
}

enum err websocket_client_read(struct websocket_client *w, int64_t until_ms, struct buf *message)
{
	struct header h;
	bool whole = false;
	enum err e = OK;

	while (e == OK && !whole) {
		if (!read_header(&w->bytes, &h) || w->bytes.len - h.header_bytes < h.payload_bytes) {
			e = w->bytes.len > MESSAGE_MAX ? too_large(w) : receive(w, until_ms);
			continue;
		}
		e = take_frame(w, &h, until_ms, &whole);
		buf_drop(&w->bytes, h.header_bytes + h.payload_bytes);
	}
	if (e == OK) {
		buf_clear(message);
		buf_add(message, w->message.bytes, w->message.len);
		buf_clear(&w->message);
	}
	return e == OK && !buf_ok(message) ? ERR_MEMORY : e;
}

const char *websocket_client_problem(const struct websocket_client *w)
{
	return w ? w->problem : err_text(ERR_MEMORY);
}

void websocket_client_close(struct websocket_client **out)
{
	struct websocket_client *w = *out;

	if (!w)
		return;
	/* What the server makes of it is of no interest any more. */
	if (w->open && say(w, OPCODE_CLOSE, "\x03\xe8", 2, clock_monotonic_ms() + 100) != OK)
		w->open = false;
	curl_easy_cleanup(w->easy);
	buf_free(&w->bytes);
	buf_free(&w->message);
	free(w);
	*out = NULL;
}
