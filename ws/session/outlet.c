#include "ws/session/outlet.h"

#include "base/clock.h"

#define TAKING_BYTES 16384 /* that have to leave within TIDINGS_SLOW_TIMEOUT, while more waits */

size_t outlet_bytes(const struct outlet *o)
{
	return o->out.size + o->held.size + o->marks.size;
}

void outlet_free(struct outlet *o)
{
	buf_free(&o->out);
	buf_free(&o->held);
	buf_free(&o->marks);
}

bool outlet_all_has_left(const struct outlet *o)
{
	return !o->broken && outlet_is_clear(o) && (o->held.len == 0 || o->ended);
}

/* Bytes that have left for the client. */
static int64_t count_left(const struct outlet *o)
{
	return o->given_bytes - o->transport->queued(o->socket);
}

void outlet_choke(struct outlet *o)
{
	o->choked_ms = clock_monotonic_ms();
	o->left_bytes = count_left(o);
}

bool outlet_look(struct outlet *o, int64_t now_ms)
{
	int64_t left = count_left(o);

	if (left - o->left_bytes < TAKING_BYTES)
		return false;
	o->choked_ms = now_ms;
	o->left_bytes = left;
	return true;
}

/* As much of these bytes as the socket takes; from then on it is choked, or broken. */
static size_t write_some(struct outlet *o, struct span bytes)
{
	bool full = false;
	ssize_t took = o->transport->write(o->socket, bytes, &full);

	if (took < 0) {
		o->choked_ms = clock_monotonic_ms();
		o->broken = true;
		return bytes.len;
	}
	o->given_bytes += took;
	if (full)
		outlet_choke(o);
	return (size_t)took;
}

void outlet_write(struct outlet *o, struct span bytes)
{
	size_t took = write_some(o, bytes);

	if (took == bytes.len)
		return;
	o->whole = o->encoder->whole_after(bytes, 0, took) - took;
	buf_add(&o->out, bytes.bytes + took, bytes.len - took);
	if (!buf_ok(&o->out))
		o->broken = true;
}

bool outlet_add(struct outlet *o, struct buf *bytes)
{
	bool fresh = o->out.len == 0;

	if (fresh) {
		o->out = *bytes;
		*bytes = BUF_EMPTY;
	} else {
		buf_add(&o->out, bytes->bytes, bytes->len);
		buf_free(bytes);
	}
	return fresh;
}

/* The end of the message in `out` that its client has begun to take. */
static size_t begun_end(const struct outlet *o)
{
	return o->encoder->whole_after((struct span){o->out.bytes, o->out.len}, o->whole, o->at);
}

/* What the socket has of `out` is forgotten. */
static void drop_given(struct outlet *o)
{
	o->whole = begun_end(o) - o->at;
	buf_drop(&o->out, o->at);
	o->at = 0;
}

/* What the socket has of `out` is not forgotten before it is much: all that waits is moved then. */
void outlet_pump(struct outlet *o, bool fresh)
{
	if (o->at < o->out.len && o->choked_ms == 0)
		o->at += write_some(o, (struct span){o->out.bytes + o->at, o->out.len - o->at});
	if (o->at == o->out.len) {
		buf_free(&o->out);
		o->at = o->whole = 0;
	} else if (fresh || o->at > (o->out.len - o->at) / 2) {
		drop_given(o);
	}
}

void outlet_end(struct outlet *o)
{
	o->ended = true;
	buf_free(&o->held);
	if (!buf_ok(&o->out)) {
		buf_free(&o->out);
		o->broken = true;
	}
}

void outlet_drop_unbegun(struct outlet *o)
{
	size_t end;

	if (o->out.len == 0)
		return;
	end = begun_end(o);
	if (end == o->out.len)
		return;
	buf_cut(&o->out, end);
	drop_given(o);
	buf_free(&o->marks);
}

void outlet_abandon(struct outlet *o)
{
	outlet_free(o);
	o->at = o->whole = 0;
	o->ended = true;
	o->broken = true;
}
