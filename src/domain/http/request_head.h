/*
 * request_head - the head of an HTTP/1.1 request, read strictly (RFC 9112).
 *
 * The sidecar's port takes requests without a body only, and may be reached without a web server in front. So anything
 * on which two readers could disagree is refused: line ends that are not CRLF, folded lines, space before a colon, a
 * header that must be alone and is not, a body.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/defs.h"
#include "domain/http/forwarded.h"
#include "domain/http/header_list.h"

#define REQUEST_HEAD_MAX 32768 /* bytes: a JWT of 8 KiB, 100 topics of 128 bytes and their cursors */

/* All spans are borrowed from the bytes; .bytes NULL: it was not there. */
struct request_head {
	struct span method;
	struct span path;  /* as sent, without the query, and without `http://host` */
	struct span query; /* as sent, without the `?` */
	struct span authorization;
	struct header_list upgrade;
	struct span websocket_key;
	struct span websocket_version;
	struct header_list websocket_protocols;
	struct header_list websocket_extensions;
	struct span origin;
	struct header_list accept;
	struct span last_event_id;
	struct span wanted_method; /* Access-Control-Request-Method */
	struct forwarded forwarded;
	bool by_proxy;		       /* that sends it for somebody */
	struct header_list request_id; /* X-Request-Id: several are none */
	struct header_list traceparent;
	bool keep_alive; /* the client may send another on the same connection */
	int body_status; /* 0: no body; else the status that refuses it: 411 without a length, 413 with one */
	size_t len;	 /* of the whole head: what comes after is not in it */
};

/* How far a head that comes in pieces has been looked through: each byte once. All zero at first. */
struct request_scan {
	size_t searched; /* bytes that are known to hold no end */
	unsigned lines;	 /* that end in them */
};

/*
 * Reads a head that has come in pieces. An empty line before it is passed over (RFC 9112, section 2.2).
 *
 *	scan	in and out: what is known of the bytes that were there the last time
 *
 * Returns 0 when it is whole, -1 while more has to come, or the HTTP status that refuses it: 400, 414, 431 (over
 * REQUEST_HEAD_MAX, or more than 100 headers), 505. A line that ends with a LF alone, and a header too many, are refused
 * when they come, whatever follows.
 */
int request_head_read(struct request_head *r, const char *bytes, size_t len, struct request_scan *scan);

bool request_head_is_method(const struct request_head *r, const char *method);

/* True: `Upgrade: websocket` with all that RFC 6455, section 4.2.1 asks for. */
bool request_head_is_websocket(const struct request_head *r);

/* The token of `Authorization: Bearer …`; .bytes NULL when there is none. */
struct span request_head_bearer(const struct request_head *r);
