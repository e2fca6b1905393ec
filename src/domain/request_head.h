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

#define REQUEST_HEAD_MAX 16384 /* bytes; a JWT may take 8 KiB of it */

/* All spans are borrowed from the bytes; .bytes NULL: it was not there. */
struct request_head {
	struct span method;
	struct span path;  /* as sent, without the query */
	struct span query; /* as sent, without the `?` */
	struct span authorization;
	struct span upgrade;
	struct span websocket_key;
	struct span websocket_version;
	struct span websocket_protocols;  /* Sec-WebSocket-Protocol: a list */
	struct span websocket_extensions; /* Sec-WebSocket-Extensions: a list; the first, where there are several */
	struct span origin;
	struct span last_event_id;
	struct span wanted_method; /* Access-Control-Request-Method */
	bool keep_alive;	   /* the client may send another on the same connection */
	int body_status;	   /* 0: no body; else the status that refuses it: 411 without a length, 413 with one */
	size_t len;		   /* of the whole head: what comes after is not in it */
};

/*
 * Reads a head that has come in pieces.
 *
 * Returns 0 when it is whole, -1 while more has to come, or the HTTP status that refuses it: 400, 414, 431 (over
 * REQUEST_HEAD_MAX), 505.
 */
int request_head_read(struct request_head *r, const char *bytes, size_t len);

/* True: `Upgrade: websocket` with all that RFC 6455, section 4.2.1 asks for. */
bool request_head_is_websocket(const struct request_head *r);

/* The token of `Authorization: Bearer …`; .bytes NULL when there is none. */
struct span request_head_bearer(const struct request_head *r);

/*
 * Goes through a list, separated by commas or semicolons: takes the first item off `list`, without space around it.
 * False at the end. Empty items are passed over.
 */
bool list_next(struct span *list, char separator, struct span *item);
