#include "domain/http/request_head.h"

#include <string.h>
#include <strings.h>

#define HEAD_INCOMPLETE (-1)
#define TARGET_MAX 24576
#define HOST_MAX 255
#define HEADERS_MAX 100

static bool is_token_char(char c)
{
	static const bool token_chars[256] = {
		['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['!'] = true,	 ['#'] = true,
		['$'] = true,	      ['%'] = true,	    ['&'] = true,	  ['\''] = true, ['*'] = true,
		['+'] = true,	      ['-'] = true,	    ['.'] = true,	  ['^'] = true,	 ['_'] = true,
		['`'] = true,	      ['|'] = true,	    ['~'] = true,
	};

	return token_chars[(unsigned char)c];
}

static bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && strncasecmp(s.bytes, text, s.len) == 0;
}

/* The line at `*at`, without its CRLF; `*at` moves behind it. False: no CRLF in what is there, or a bare CR or LF. */
static bool take_line(const char **at, const char *end, struct span *line)
{
	const char *lf = memchr(*at, '\n', (size_t)(end - *at));

	if (!lf || lf == *at || lf[-1] != '\r')
		return false;
	*line = (struct span){*at, (size_t)(lf - 1 - *at)};
	*at = lf + 1;
	return !memchr(line->bytes, '\r', line->len) && !memchr(line->bytes, '\0', line->len);
}

/* Up to 5 digits, which may be none. */
static bool is_port(struct span s)
{
	unsigned value = 0;

	for (size_t i = 0; i < s.len; i++) {
		if (i == 5 || s.bytes[i] < '0' || s.bytes[i] > '9')
			return false;
		value = value * 10 + (unsigned)(s.bytes[i] - '0');
	}
	return value <= 65535;
}

static bool is_host_char(char c, bool in_brackets)
{
	return (is_token_char(c) && c != '^' && c != '`' && c != '|' && c != '#') ||
	       (c != '\0' && strchr(in_brackets ? ":" : "(),;=", c));
}

/* RFC 9110, section 7.2: a name or an address, and perhaps a port. Empty where there is none to name. */
static bool is_host(struct span s)
{
	bool brackets = s.len > 0 && s.bytes[0] == '[';
	const char *close = brackets ? memchr(s.bytes, ']', s.len) : NULL;
	size_t at = brackets, end = 0;

	if (s.len > HOST_MAX || (brackets && !close))
		return false;
	end = brackets ? (size_t)(close - s.bytes) : s.len;
	while (at < end && is_host_char(s.bytes[at], brackets))
		at++;
	if (brackets && (at != end || end == 1))
		return false;
	at += brackets;
	if (at == s.len)
		return true;
	return s.bytes[at] == ':' && is_port((struct span){s.bytes + at + 1, s.len - at - 1});
}

/*
 * The target behind `http://host`, which a client sends to a proxy, and a server takes as well (RFC 9112, section 3.2.2).
 *
 * False: it is no target.
 */
static bool skip_authority(const char **target, const char *end)
{
	static const char *const schemes[] = {"http://", "https://"};

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		size_t len = strlen(schemes[i]);
		const char *host = *target + len, *path = host;

		if ((size_t)(end - *target) < len || strncasecmp(*target, schemes[i], len) != 0)
			continue;
		while (path < end && *path != '/' && *path != '?')
			path++;
		*target = path;
		return path > host && is_host((struct span){host, (size_t)(path - host)});
	}
	return *target < end && **target == '/';
}

static int read_request_line(struct request_head *r, struct span line)
{
	const char *end = line.bytes + line.len;
	const char *space = memchr(line.bytes, ' ', line.len);
	const char *target, *question, *path;

	if (!space || space == line.bytes)
		return 400;
	r->method = (struct span){line.bytes, (size_t)(space - line.bytes)};
	for (size_t i = 0; i < r->method.len; i++) {
		if (!is_token_char(r->method.bytes[i]))
			return 400;
	}
	target = space + 1;
	space = memchr(target, ' ', (size_t)(end - target));
	if (!space)
		return 400;
	if (space - target > TARGET_MAX)
		return 414;
	path = target;
	if (!skip_authority(&path, space))
		return 400;
	for (const char *c = target; c < space; c++) {
		if ((unsigned char)*c < '!' || (unsigned char)*c >= 0x7f || *c == '#')
			return 400;
	}
	if ((size_t)(end - space - 1) != strlen("HTTP/1.1") || memcmp(space + 1, "HTTP/", 5) != 0)
		return 400;
	/* A later minor version is spoken to as 1.1 (RFC 9110, section 2.5). */
	if (memcmp(space + 1, "HTTP/1.", 7) != 0 || end[-1] < '1' || end[-1] > '9')
		return 505;
	question = memchr(path, '?', (size_t)(space - path));
	r->path = (struct span){path, (size_t)((question ? question : space) - path)};
	/* `http://host` alone asks for `/`: the one of its scheme. */
	if (r->path.len == 0)
		r->path = (struct span){memchr(target, '/', (size_t)(space - target)), 1};
	if (question)
		r->query = (struct span){question + 1, (size_t)(space - question - 1)};
	return 0;
}

/* A header that must be there at most once. */
static bool set_once(struct span *to, struct span value)
{
	if (to->bytes)
		return false;
	*to = value;
	return true;
}

/* A head as it is read: also what only says how. */
struct head_reading {
	struct request_head head;
	struct span content_length, transfer_encoding, host;
	struct header_list connection;
};

/* The headers that mean something here. */
static const struct known {
	const char *name;
	size_t len;
	size_t offset; /* of its value, in struct head_reading */
	bool is_list;
} known[] = {
#define KNOWN(name, field)                                                          \
	{                                                                           \
		name, sizeof(name) - 1, offsetof(struct head_reading, field), false \
	}
#define KNOWN_LIST(name, field)                                                    \
	{                                                                          \
		name, sizeof(name) - 1, offsetof(struct head_reading, field), true \
	}
	KNOWN("Authorization", head.authorization),
	KNOWN_LIST("Upgrade", head.upgrade),
	KNOWN("Sec-WebSocket-Key", head.websocket_key),
	KNOWN("Sec-WebSocket-Version", head.websocket_version),
	KNOWN_LIST("Sec-WebSocket-Protocol", head.websocket_protocols),
	KNOWN_LIST("Sec-WebSocket-Extensions", head.websocket_extensions),
	KNOWN("Origin", head.origin),
	KNOWN_LIST("Accept", head.accept),
	KNOWN("Last-Event-ID", head.last_event_id),
	KNOWN("Access-Control-Request-Method", head.wanted_method),
	KNOWN_LIST("X-Forwarded-For", head.forwarded.x_forwarded_for),
	KNOWN_LIST("Forwarded", head.forwarded.forwarded),
	KNOWN_LIST("X-Request-Id", head.request_id),
	KNOWN_LIST("Traceparent", head.traceparent),
	KNOWN("Content-Length", content_length),
	KNOWN("Transfer-Encoding", transfer_encoding),
	KNOWN("Host", host),
	KNOWN_LIST("Connection", connection),
#undef KNOWN
#undef KNOWN_LIST
};

/* What a proxy adds (RFC 7239, RFC 9110 section 7.6.3), however often. */
static bool tells_of_proxy(struct span name)
{
	static const char *const names[] = {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (name.len == strlen(names[i]) && strncasecmp(name.bytes, names[i], name.len) == 0)
			return true;
	return false;
}

static int read_header(struct head_reading *r, struct span line)
{
	const char *colon = memchr(line.bytes, ':', line.len);
	struct span name, value;

	if (!colon || colon == line.bytes)
		return 400;
	name = (struct span){line.bytes, (size_t)(colon - line.bytes)};
	value = list_trim((struct span){colon + 1, (size_t)(line.bytes + line.len - colon - 1)});
	for (size_t i = 0; i < name.len; i++) {
		if (!is_token_char(name.bytes[i]))
			return 400;
	}
	for (size_t i = 0; i < value.len; i++) {
		if (((unsigned char)value.bytes[i] < ' ' && value.bytes[i] != '\t') || value.bytes[i] == 0x7f)
			return 400;
	}
	r->head.by_proxy = r->head.by_proxy || tells_of_proxy(name);
	for (const struct known *k = known; k < known + ARRAY_LEN(known); k++) {
		void *to = (char *)r + k->offset;

		if (name.len == k->len && strncasecmp(name.bytes, k->name, k->len) == 0)
			return (k->is_list ? header_list_add(to, value) : set_once(to, value)) ? 0 : 400;
	}
	return 0;
}

/* Digits alone: whatever else stands there, two readers may take for different lengths. */
static bool is_length(struct span s)
{
	size_t i = 0;

	while (i < s.len && s.bytes[i] >= '0' && s.bytes[i] <= '9')
		i++;
	return s.len > 0 && i == s.len;
}

static bool is_zero(struct span s)
{
	size_t i = 0;

	while (i < s.len && s.bytes[i] == '0')
		i++;
	return i == s.len;
}

static bool ends_chunked(struct span codings)
{
	struct span coding = {0};

	while (list_next(&codings, ',', &coding))
		;
	return coding.len > 0 && span_is(coding, "chunked");
}

/* How a body is refused; 0: there is none. 400: nobody can tell where it would end (RFC 9112, section 6.3). */
static int body_status(const struct head_reading *r)
{
	if (r->transfer_encoding.bytes && (r->content_length.bytes || !ends_chunked(r->transfer_encoding)))
		return 400;
	if (r->transfer_encoding.bytes)
		return 411;
	if (!r->content_length.bytes)
		return 0;
	if (!is_length(r->content_length))
		return 400;
	return is_zero(r->content_length) ? 0 : 413;
}

/*
 * The CRLF CRLF at the end of a head; NULL: it is not there.
 *
 *	status	out: that refuses what is there, whatever comes: a line ends with a LF alone, which no two readers may read
 *		the same, or there are too many lines; else 0
 */
static const char *find_end(const char *bytes, size_t len, struct request_scan *scan, int *status)
{
	const char *lf = bytes + scan->searched, *end = bytes + len;

	*status = 0;
	while (lf < end && (lf = memchr(lf, '\n', (size_t)(end - lf)))) {
		if (lf == bytes || lf[-1] != '\r') {
			*status = 400;
			return NULL;
		}
		if (lf - bytes >= 3 && memcmp(lf - 3, "\r\n\r", 3) == 0)
			return lf - 3;
		/* The request line, and the headers. */
		if (++scan->lines > 1 + HEADERS_MAX) {
			*status = 431;
			return NULL;
		}
		lf++;
	}
	scan->searched = len;
	return NULL;
}

int request_head_read(struct request_head *out, const char *bytes, size_t len, struct request_scan *scan)
{
	size_t skipped = len >= 2 && bytes[0] == '\r' && bytes[1] == '\n' ? 2 : 0;
	const char *at = bytes + skipped, *whole = NULL, *end;
	struct head_reading r = {0};
	struct span line;
	int status = 0;

	*out = (struct request_head){0};
	scan->searched = MAX(scan->searched, skipped);
	/* Something that will never be a head is refused before it has all come. */
	if (len > skipped && !is_token_char(*at) && !(len == 1 && *at == '\r'))
		return 400;
	if (len > 0)
		whole = find_end(bytes, MIN(len, REQUEST_HEAD_MAX), scan, &status);
	if (status != 0)
		return status;
	if (!whole)
		return len >= REQUEST_HEAD_MAX ? 431 : HEAD_INCOMPLETE;
	end = whole + 2;
	r.head.len = (size_t)(whole + 4 - bytes);
	if (!take_line(&at, end, &line))
		return 400;
	status = read_request_line(&r.head, line);
	while (status == 0 && at < end)
		status = take_line(&at, end, &line) ? read_header(&r, line) : 400;
	if (status != 0)
		return status;
	if (!r.host.bytes || !is_host(r.host))
		return 400;
	r.head.body_status = body_status(&r);
	if (r.head.body_status == 400)
		return 400;
	r.head.keep_alive = !header_list_has(r.connection, "close");
	/* An upgrade that Connection does not name is none (RFC 9110, section 7.8). */
	if (!header_list_has(r.connection, "upgrade"))
		r.head.upgrade.count = 0;
	*out = r.head;
	return 0;
}

/* 16 bytes in base64. */
static bool is_websocket_key(struct span key)
{
	static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	if (key.len != 24 || memcmp(key.bytes + 22, "==", 2) != 0)
		return false;
	for (size_t i = 0; i < 22; i++) {
		if (!memchr(base64, key.bytes[i], strlen(base64)))
			return false;
	}
	return true;
}

bool request_head_is_method(const struct request_head *r, const char *method)
{
	return r->method.len == strlen(method) && memcmp(r->method.bytes, method, r->method.len) == 0;
}

bool request_head_is_websocket(const struct request_head *r)
{
	return header_list_has(r->upgrade, "websocket") && r->method.len == 3 &&
	       memcmp(r->method.bytes, "GET", 3) == 0 && is_websocket_key(r->websocket_key) &&
	       r->websocket_version.bytes && span_is(r->websocket_version, "13");
}

struct span request_head_bearer(const struct request_head *r)
{
	struct span a = r->authorization;

	if (a.len <= strlen("Bearer ") || strncasecmp(a.bytes, "Bearer ", strlen("Bearer ")) != 0)
		return (struct span){0};
	return list_trim((struct span){a.bytes + strlen("Bearer "), a.len - strlen("Bearer ")});
}
