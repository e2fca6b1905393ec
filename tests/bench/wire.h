/*
 * wire - what a client says and hears: as a WebSocket, as an event stream, or poll by poll.
 *
 * A client asks (wire_request), and reads bytes (wire_read). What they mean is told by four calls: that it is
 * connected, each message, that a poll is answered, and that nothing more comes. Anything that the specification does
 * not allow ends the program.
 *
 * Layer    tests: no socket.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

enum wire_kind {
	WIRE_WEBSOCKET,
	WIRE_SSE,
	WIRE_POLL,
	WIRE_FASTAPI, /* a WebSocket without seqs, the token in the query */
	/* Of nchan: no connect, messages as they were posted, and a poll's place in the headers. */
	WIRE_NCHAN_WEBSOCKET,
	WIRE_NCHAN_SSE,
	WIRE_NCHAN_POLL,
};

#define WIRE_CURSOR_SIZE 96 /* bytes of a cursor's text, and the NUL */
#define WIRE_REQUEST_MAX 8192

struct wire_question {
	const char *host;
	const char *token;  /* NULL: none */
	const char *cursor; /* empty: none */
	int port;
	unsigned diagnosis;
	bool deflate; /* a WebSocket offers to take compressed messages */
	bool device;  /* it names itself */
};

struct wire {
	enum wire_kind kind;
	enum { WIRE_HEAD, WIRE_BODY } part; /* of the reply that is being read */
	bool greeted;
	bool deflate; /* offered; from the reply's head on: agreed */
	bool closes;  /* the server closes after this reply */
	bool over;    /* nothing more is read: ended() was called */
	bool chunked;
	bool in_chunk;
	unsigned chunk_digits;	      /* of the next chunk's size, read so far */
	uint64_t left;		      /* bytes of a chunk, or of a poll's reply */
	char place[WIRE_CURSOR_SIZE]; /* after the reply that is being read, where its head tells it */
};

struct wire_ops {
	/* It is connected, at this cursor. For a poll: its first answer has come, with what was missed before. */
	void (*greeted)(void *context, struct span cursor);
	/* One message; bytes as it came, with what is around it. missed: it belongs to what was sent before. */
	void (*message)(void *context, struct span json, size_t bytes, bool missed);
	/* A poll is answered: the next one starts at this cursor. closes: not on this connection. */
	void (*answered)(void *context, struct span cursor, bool closes);
	/* Bytes for the server. */
	void (*say)(void *context, struct span bytes);
	/* The server has said the end, or did not let it in. */
	void (*ended)(void *context, const char *why);
};

bool wire_polls(enum wire_kind kind);
bool wire_is_nchan(enum wire_kind kind);
bool wire_has_seq(enum wire_kind kind); /* else messages are known by their numbers alone */

/* Forgets a connection; a poll that goes on elsewhere stays greeted. */
void wire_reset(struct wire *w, enum wire_kind kind, bool greeted, bool deflate);

/* Returns its length. */
size_t wire_request(char out[WIRE_REQUEST_MAX], enum wire_kind kind, const struct wire_question *q);

/*
 * Bytes in `in` that were dealt with; the rest is to be given again, with what comes next behind it.
 *
 *	fresh	from here on they were not given before
 *	len	in and out: chunks are taken apart in place, so they get fewer
 */
size_t wire_read(struct wire *w, char *in, size_t fresh, size_t *len, const struct wire_ops *ops, void *context);
