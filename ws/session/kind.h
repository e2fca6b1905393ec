/*
 * kind - what one kind of client does in its own way: a WebSocket on topics, an event stream, a poll, a live connection.
 *
 * A session has its kind for good. The tables are stream.c's, poll.c's and live_connection.c's; what is the same for all kinds
 * is in none of them. A kind that needs memory of its own has a struct that begins with struct session.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "domain/fanout/hub.h"
#include "ws/metrics/node_metrics.h"
#include "ws/session/encoder.h"

struct arrival;
struct mark;
struct page;

struct kind_traits {
	bool duplex;	      /* a WebSocket: its client speaks, answers heartbeats, and may say later who it is */
	bool cursor_confirms; /* its client has had what lies before the cursor that it brings */
	bool needs_user;      /* nobody is anonymous there, and every role's connections are limited */
};

struct session_kind {
	enum client_transport transport;
	const struct encoder *encoder;
	size_t size; /* of its session's struct */
	struct kind_traits is;

	/* The session has a place: it is let in by what it has brought, or asked who it is. */
	void (*begin)(struct session *s, const struct arrival *a);
	/* The session is no more when this returns, but for its memory. NULL: nothing to do. */
	void (*end)(struct session *s);

	/* ---- what its client says; NULL where it is not duplex */

	/* A text message, whole, and within its client's rate. */
	void (*receive)(struct session *s, struct span text);
	/* One that is over the rate. */
	void (*refuse_rate)(struct session *s);
	/* Whether messages are kept until their client is let in, and charged then. NULL: never. */
	bool (*keeps_early)(const struct session *s);

	/* ---- its subscriptions, on their way (subscribe.h) */

	/*
	 * It may have been here a moment ago: takes over what is still there. True: it did. NULL: never.
	 *
	 *	goes_on	out: its subscriptions are all RESUMED: nobody has to be asked
	 */
	bool (*resume)(struct session *s, bool *goes_on);
	void (*refused)(struct subscription *sub, enum err why);
	/* Its client has been told that it is connected. NULL: nothing to do. */
	void (*welcomed)(struct session *s);
	/* COUNTED: whoever publishes counts it. True: it waits for the others of its session, to be welcomed with them. */
	bool (*counted)(struct subscription *sub);
	/* What it missed, in part. Its bytes are taken over. */
	void (*page)(struct subscription *sub, struct page *page);
	/* That was all of it. NULL: it goes live. */
	void (*caught_up)(struct subscription *sub);
	/* New messages, as the tail has them, in its own words. NULL: they are written as they are. */
	enum hub_written (*deliver)(struct subscription *sub, struct span frames, const struct mark *mark);
	/* It may not have its topic any more. NULL: its session is closed. */
	void (*revoked)(struct subscription *sub);

	/* ---- NULL where it has none */

	/* When it has something to do by itself; INT64_MAX: nothing. */
	int64_t (*due_ms)(const struct session *s, int64_t now_ms);
	/* It is due. */
	void (*due)(struct session *s, int64_t now_ms);
	/* Its reply is out, to its end. True: its client is expected back, and its subscriptions are kept for that. */
	bool (*park)(struct session *s);
};
