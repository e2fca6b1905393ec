#include "tests/bench/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/bench/bench.h"
#include "tests/bench/inflate.h"
#include "tests/bench/scan.h"

#define HEAD_MAX 8192		       /* bytes of a reply's head */
#define PAYLOAD_MAX (64 * 1024 * 1024) /* more in one frame or reply is a fault, not a message */

/* The example of RFC 6455, 1.3: so the right answer is known, and is checked. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { OPCODE_CONTINUATION = 0, OPCODE_TEXT = 1, OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10 };

/* What is called, and on whom. */
struct listener {
	const struct wire_ops *ops;
	void *context;
};

bool wire_polls(enum wire_kind kind)
{
	return kind == WIRE_POLL || kind == WIRE_NCHAN_POLL;
}

bool wire_is_nchan(enum wire_kind kind)
{
	return kind == WIRE_NCHAN_WEBSOCKET || kind == WIRE_NCHAN_SSE || kind == WIRE_NCHAN_POLL;
}

bool wire_has_seq(enum wire_kind kind)
{
	return kind != WIRE_FASTAPI && !wire_is_nchan(kind);
}

static bool is_websocket(enum wire_kind kind)
{
	return kind == WIRE_WEBSOCKET || kind == WIRE_FASTAPI || kind == WIRE_NCHAN_WEBSOCKET;
}

void wire_reset(struct wire *w, enum wire_kind kind, bool greeted, bool deflate)
{
	*w = (struct wire){.kind = kind, .greeted = greeted, .deflate = deflate};
}

#define UPGRADE \
	"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n"

size_t wire_request(char out[WIRE_REQUEST_MAX], enum wire_kind kind, const struct wire_question *q)
{
	static const struct {
		const char *path, *headers;
	} kinds[] = {
		[WIRE_WEBSOCKET] = {"ws", UPGRADE},
		[WIRE_SSE] = {"sse", "Accept: text/event-stream\r\n"},
		[WIRE_POLL] = {"poll", ""},
		[WIRE_FASTAPI] = {"ws", UPGRADE},
		[WIRE_NCHAN_WEBSOCKET] = {"ws", UPGRADE},
		[WIRE_NCHAN_SSE] = {"sse", "Accept: text/event-stream\r\n"},
		[WIRE_NCHAN_POLL] = {"poll", ""},
	};
	bool in_query = q->cursor[0] && !wire_is_nchan(kind);
	bool in_headers = q->cursor[0] && wire_is_nchan(kind);
	const char *token = kind == WIRE_FASTAPI ? NULL : q->token;
	const char *query = in_query ? q->cursor : "", *name = in_query ? "?cursor=" : "";

	if (kind == WIRE_FASTAPI && q->token) {
		name = "?token=";
		query = q->token;
	}

	const char *device = !q->device ? "" : name[0] ? "&device=phone" : "?device=phone";
	int n = snprintf(out, WIRE_REQUEST_MAX, "GET /%s/%u%s%s%s%s HTTP/1.1\r\nHost: %s:%d\r\n%s%s%s%s%s%s%s\r\n",
			 kinds[kind].path, q->diagnosis, name, query, device,
			 in_query && kind == WIRE_POLL ? "&timeout=55" : "", q->host, q->port, kinds[kind].headers,
			 q->deflate ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "",
			 in_headers ? q->cursor : "", in_headers ? "\r\n" : "", token ? "Authorization: Bearer " : "",
			 token ? token : "", token ? "\r\n" : "");

	if (n < 0 || n >= WIRE_REQUEST_MAX)
		die("the token is too long");
	return (size_t)n;
}

static void end(struct wire *w, const struct listener *l, const char *why)
{
	w->over = true;
	l->ops->ended(l->context, why);
}

/* ---- the head of a reply */

/* The value of a header, up to its line's end; NULL: there is none. */
static const char *header(const char *head, const char *end, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = head; (at = memmem(at, (size_t)(end - at), "\r\n", 2)) && at + 2 < end;) {
		at += 2;
		if ((size_t)(end - at) > len && strncasecmp(at, name, len) == 0 && at[len] == ':')
			return at + len + 1 + strspn(at + len + 1, " ");
	}
	return NULL;
}

static bool header_is(const char *head, const char *end, const char *name, const char *value)
{
	const char *found = header(head, end, name);

	return found && strncasecmp(found, value, strlen(value)) == 0;
}

static void read_length(struct wire *w, const char *head, const char *end)
{
	const char *length = header(head, end, "Content-Length");

	if (!length)
		die("a poll's reply has no length");
	w->left = strtoull(length, NULL, 10);
	if (w->left > PAYLOAD_MAX)
		die("a reply of %" PRIu64 " bytes", w->left);
	w->closes = header_is(head, end, "Connection", "close");
}

static void read_extensions(struct wire *w, const char *head, const char *end)
{
	const char *agreed = header(head, end, "Sec-WebSocket-Extensions");
	size_t len = agreed ? strcspn(agreed, "\r") : 0;

	if (!w->deflate && agreed)
		die("an extension was agreed to that nobody offered: %.*s", (int)len, agreed);
	if (!w->deflate)
		return;
	if (!agreed)
		die("the server does not take permessage-deflate");
	if (strncmp(agreed, "permessage-deflate", strlen("permessage-deflate")) != 0 ||
	    !memmem(agreed, len, "server_no_context_takeover", strlen("server_no_context_takeover")))
		die("the server agreed to '%.*s': each message must be compressed by itself", (int)len, agreed);
}

/* nchan's place, as the headers that ask for what is after it. */
static void read_place(struct wire *w, const char *head, const char *end)
{
	const char *modified = header(head, end, "Last-Modified"), *tag = header(head, end, "Etag");
	int len = -1;

	if (modified && tag)
		len = snprintf(w->place, sizeof(w->place), "If-Modified-Since: %.*s\r\nIf-None-Match: %.*s",
			       (int)strcspn(modified, "\r"), modified, (int)strcspn(tag, "\r"), tag);
	if (len < 0 || (size_t)len >= sizeof(w->place))
		die("a reply of nchan without a place");
}

static size_t read_head(struct wire *w, const char *in, size_t len, const struct listener *l)
{
	const char *end_of_head = memmem(in, len, "\r\n\r\n", 4);
	const char *wanted = is_websocket(w->kind) ? "HTTP/1.1 101 " : "HTTP/1.1 200 ";
	char why[64];

	if (!end_of_head) {
		if (len > HEAD_MAX)
			die("a reply's head does not end");
		return 0;
	}

	const char *body = end_of_head + 4;

	if (strncmp(in, wanted, strlen(wanted)) != 0) {
		snprintf(why, sizeof(why), "the request was answered '%.*s'", (int)strcspn(in, "\r"), in);
		end(w, l, why);
		return (size_t)(body - in);
	}
	switch (w->kind) {
	case WIRE_NCHAN_WEBSOCKET:
		w->greeted = true;
		l->ops->greeted(l->context, (struct span){0});
		/* fall through */
	case WIRE_WEBSOCKET:
	case WIRE_FASTAPI:
		if (!header_is(in, body, "Sec-WebSocket-Accept", ACCEPT))
			die("the upgrade was accepted with a wrong Sec-WebSocket-Accept");
		read_extensions(w, in, body);
		break;
	case WIRE_NCHAN_SSE:
		w->greeted = true;
		l->ops->greeted(l->context, (struct span){0});
		/* fall through */
	case WIRE_SSE:
		if (!header_is(in, body, "Content-Type", "text/event-stream"))
			die("an event stream has another content type");
		w->chunked = header_is(in, body, "Transfer-Encoding", "chunked");
		break;
	case WIRE_NCHAN_POLL:
		read_place(w, in, body);
		/* fall through */
	case WIRE_POLL:
		read_length(w, in, body);
		break;
	}
	w->part = WIRE_BODY;
	return (size_t)(body - in);
}

/* One byte of what is between two chunks: a line's end, and the next one's size with its own. */
static void between_chunks(struct wire *w, char c, const struct listener *l)
{
	char digit[2] = {c}, *rest;
	unsigned long value;

	if (c == '\r')
		return;
	if (c == '\n' && w->chunk_digits > 0) {
		w->in_chunk = w->left > 0;
		if (!w->in_chunk)
			end(w, l, "the stream ended");
		w->chunk_digits = 0;
		return;
	}
	if (c == '\n')
		return;
	value = strtoul(digit, &rest, 16);
	if (*rest || ++w->chunk_digits > 8)
		die("what should be a chunk's size is none");
	w->left = w->left * 16 + value;
}

/* Takes chunks apart, in place; returns how many bytes are left. */
static size_t dechunk(struct wire *w, char *in, size_t len, const struct listener *l)
{
	size_t kept = 0, at = 0;

	while (at < len && !w->over) {
		size_t take = MIN(w->left, len - at);

		if (!w->in_chunk) {
			between_chunks(w, in[at++], l);
			continue;
		}
		memmove(in + kept, in + at, take);
		kept += take;
		at += take;
		w->left -= take;
		w->in_chunk = w->left > 0;
	}
	return kept;
}

/* ---- WebSocket */

static void pong(const char *payload, size_t len, const struct listener *l)
{
	/* Masked, as a client's frames must be, with a mask of zeros. */
	char frame[6 + 125] = {(char)(0x80 | OPCODE_PONG), (char)(0x80 | len)};

	memcpy(frame + 6, payload, len);
	l->ops->say(l->context, (struct span){frame, 6 + len});
}

static void read_text(struct wire *w, struct span json, size_t frame_bytes, const struct listener *l)
{
	struct span list, message;

	if (!w->greeted) {
		if (scan_is(json, "\"type\"", "error"))
			return; /* its close says why */
		if (!scan_is(json, "\"type\"", "connect"))
			die("the first message is not connect: %.*s", (int)MIN(json.len, 200), json.bytes);
		w->greeted = true;
		l->ops->greeted(l->context, scan_text(json, "\"cursor\""));
	} else if (scan_is(json, "\"type\"", "reconnect_messages")) {
		if (!scan_list(json, "\"messages\"", &list))
			die("reconnect_messages without messages");
		while (scan_next(&list, &message))
			l->ops->message(l->context, message, message.len, true);
	} else if (!wire_has_seq(w->kind) || scan_number(json, "\"seq\"") >= 0) {
		l->ops->message(l->context, json, frame_bytes, false);
	}
}

/* Length of the head of a frame that is there whole, and *payload, of what follows; 0: it is not. */
static size_t frame_head(const char *in, size_t len, uint64_t *payload)
{
	const uint8_t *b = (const uint8_t *)in;
	size_t head = 2;

	if (len < 2)
		return 0;
	*payload = b[1];
	if (*payload >= 126) {
		size_t bytes = *payload == 126 ? 2 : 8;

		head += bytes;
		if (len < head)
			return 0;
		*payload = 0;
		for (size_t i = 2; i < head; i++)
			*payload = *payload << 8 | b[i];
	}
	if (*payload > PAYLOAD_MAX)
		die("a frame of %" PRIu64 " bytes", *payload);
	return len - head < *payload ? 0 : head;
}

/* A message in fragments; one that the server's close comes between is passed over. */
static size_t read_fragments(struct wire *w, char *in, size_t len, const struct listener *l)
{
	size_t at = 0, whole = 0, head;
	uint64_t payload;

	/* Not before all of it is there: what is not dealt with comes again. */
	for (;;) {
		head = frame_head(in + at, len - at, &payload);
		if (head == 0)
			return 0;
		if ((in[at] & 0x0f) == OPCODE_CLOSE)
			return at;
		if (in[at + 1] & 0x80 || in[at] & 0x70 ||
		    (in[at] & 0x0f) != (at == 0 ? OPCODE_TEXT : OPCODE_CONTINUATION))
			die("%02x among the fragments of a message", (uint8_t)in[at]);
		at += head + payload;
		if (in[at - head - payload] & 0x80)
			break;
	}
	for (size_t i = 0; i < at; i += head + payload) {
		head = frame_head(in + i, len - i, &payload);
		memmove(in + whole, in + i + head, payload);
		whole += payload;
	}
	read_text(w, (struct span){in, whole}, at, l);
	return at;
}

static size_t read_frame(struct wire *w, char *in, size_t len, const struct listener *l)
{
	const uint8_t *b = (const uint8_t *)in;
	uint64_t payload;
	size_t head = frame_head(in, len, &payload);
	char why[160];

	if (head == 0)
		return 0;
	bool compressed = w->deflate && (b[0] & 0x7f) == (0x40 | OPCODE_TEXT);

	if (b[0] == OPCODE_TEXT)
		return read_fragments(w, in, len, l);
	if (b[1] & 0x80 || (b[0] & 0x70 && !compressed) || !(b[0] & 0x80) || (b[0] & 0x0f) == OPCODE_CONTINUATION)
		die("a frame that is masked, in fragments or compressed unasked: %02x %02x", b[0], b[1]);

	const char *bytes = in + head;

	switch (b[0] & 0x0f) {
	case OPCODE_TEXT:
		read_text(w, compressed ? inflate_text((struct span){bytes, payload}) : (struct span){bytes, payload},
			  head + payload, l);
		break;
	case OPCODE_PING:
		if (payload > 125)
			die("a ping of %" PRIu64 " bytes", payload);
		pong(bytes, payload, l);
		break;
	case OPCODE_PONG:
		break;
	case OPCODE_CLOSE:
		snprintf(why, sizeof(why), "closed by the server with %d %.*s",
			 payload >= 2 ? (uint8_t)bytes[0] << 8 | (uint8_t)bytes[1] : 0,
			 payload > 2 ? (int)payload - 2 : 0, payload > 2 ? bytes + 2 : "");
		end(w, l, why);
		break;
	default:
		die("a frame of the kind %d", b[0] & 0x0f);
	}
	return head + payload;
}

/* ---- server-sent events */

/* The value of a line `name: value` of an event; no bytes: it has none. */
static struct span field(struct span event, const char *name)
{
	size_t len = strlen(name);
	const char *at = event.bytes, *stop = event.bytes + event.len;

	while (at < stop) {
		const char *line_end = memchr(at, '\n', (size_t)(stop - at));

		if (!line_end)
			line_end = stop;
		if ((size_t)(line_end - at) > len + 2 && memcmp(at, name, len) == 0 && memcmp(at + len, ": ", 2) == 0)
			return (struct span){at + len + 2, (size_t)(line_end - at) - len - 2};
		at = line_end + 1;
	}
	return (struct span){0};
}

static bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.bytes, text, s.len) == 0;
}

/* The id of a message's event is the place after it. */
static void check_id(struct span id, int64_t seq)
{
	char wanted[32];
	int len = snprintf(wanted, sizeof(wanted), "-%" PRId64, seq);

	if (id.len <= (size_t)len || memcmp(id.bytes + id.len - (size_t)len, wanted, (size_t)len) != 0)
		die("the event of seq %" PRId64 " has the id '%.*s'", seq, (int)id.len, id.bytes);
}

static size_t read_event(struct wire *w, const char *in, size_t len, const struct listener *l)
{
	const char *stop = memmem(in, len, "\n\n", 2);

	if (!stop) {
		if (len > PAYLOAD_MAX)
			die("an event does not end");
		return 0;
	}

	struct span event = {in, (size_t)(stop - in)}, data = field(event, "data"), name = field(event, "event");
	char why[160];

	if (span_is(name, "connect")) {
		if (w->greeted)
			die("a second connect");
		w->greeted = true;
		l->ops->greeted(l->context, field(event, "id"));
	} else if (span_is(name, "close")) {
		snprintf(why, sizeof(why), "closed by the server: %.*s", (int)data.len, data.bytes);
		end(w, l, why);
	} else if (data.len > 0) {
		if (!w->greeted)
			die("the first event is not connect: %.*s", (int)MIN(event.len, 200), event.bytes);
		if (w->kind == WIRE_SSE)
			check_id(field(event, "id"), scan_number(data, "\"seq\""));
		l->ops->message(l->context, data, event.len + 2, false);
	}
	return event.len + 2;
}

/* ---- polls */

static size_t read_reply(struct wire *w, const char *in, size_t len, const struct listener *l)
{
	struct span body = {in, w->left}, list, message, cursor;
	bool missed = !w->greeted;

	if (len < w->left)
		return 0;
	if (w->kind == WIRE_NCHAN_POLL) {
		l->ops->message(l->context, body, body.len, false);
		w->part = WIRE_HEAD;
		w->left = 0;
		l->ops->answered(l->context, (struct span){w->place, strlen(w->place)}, w->closes);
		return body.len;
	}
	/* The cursor stands in front of the messages: none of them can be mistaken for it. */
	cursor = scan_text(body, "\"cursor\"");
	if (cursor.len == 0 || !scan_list(body, "\"messages\"", &list))
		die("a poll's reply without cursor or messages: %.*s", (int)MIN(body.len, 200), body.bytes);
	if (!memmem(list.bytes + list.len, (size_t)(body.bytes + body.len - list.bytes) - list.len,
		    "\"recovered\":true", strlen("\"recovered\":true")))
		die("a poll has lost messages: %.*s", (int)MIN(body.len, 200), body.bytes);
	while (scan_next(&list, &message))
		l->ops->message(l->context, message, message.len, missed);
	w->greeted = true;
	w->part = WIRE_HEAD;
	w->left = 0;
	if (missed)
		l->ops->greeted(l->context, cursor);
	l->ops->answered(l->context, cursor, w->closes);
	return body.len;
}

size_t wire_read(struct wire *w, char *in, size_t fresh, size_t *len, const struct wire_ops *ops, void *context)
{
	struct listener l = {ops, context};
	size_t done = 0, used = 1;

	if (w->chunked)
		*len = fresh + dechunk(w, in + fresh, *len - fresh, &l);
	while (used > 0 && done < *len && !w->over) {
		if (w->part == WIRE_HEAD) {
			used = read_head(w, in + done, *len - done, &l);
			if (w->chunked)
				*len = done + used + dechunk(w, in + done + used, *len - done - used, &l);
		} else if (is_websocket(w->kind)) {
			used = read_frame(w, in + done, *len - done, &l);
		} else if (!wire_polls(w->kind)) {
			used = read_event(w, in + done, *len - done, &l);
		} else {
			used = read_reply(w, in + done, *len - done, &l);
		}
		done += used;
	}
	return done;
}
