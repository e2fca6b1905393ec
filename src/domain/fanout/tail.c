#include "domain/fanout/tail.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "domain/fanout/byte_fifo.h"
#include "domain/websocket/frame.h"

#define ENTRIES_FIRST 16
#define COMPRESSED_AHEAD 256 /* messages that are compressed after somebody wanted one so */
#define NEVER INT64_MAX
#define FRAME_LEAST \
	8 /* bytes, and less than any frame: so that expired messages, which have none, are not kept without end */

/* Who gets a message; only few have one. */
struct limit {
	char *to_user; /* owned; NULL: everyone */
	bool has_exclude;
	struct uuid exclude;
};

/* How a message is kept: as it is, and compressed from when on somebody wanted that. */
enum form { PLAIN, COMPRESSED, FORMS };

struct tail_entry {
	uint64_t end[FORMS]; /* offset behind its frame, in frames[form] */
	struct limit *limit; /* owned; NULL: for everyone */
	int64_t expires_ms;  /* NEVER */
	int64_t stored_ms;   /* 0: not known */
	uint32_t header;     /* bytes of the plain frame's header */
};

struct tail {
	size_t bytes_max;
	uint64_t first_seq; /* of the oldest entry; next_seq when there is none */
	uint64_t next_seq;
	uint64_t compressed_from;  /* the first message that is kept compressed, too; 0: none is */
	uint64_t compressed_until; /* messages before this one will be */
	struct deflater *deflater; /* borrowed; NULL: nothing is compressed */
	struct byte_fifo frames[FORMS];
	struct tail_entry *entries; /* circular, by seq */
	size_t entries_size;	    /* a power of two; 0 at first */
	size_t limited;		    /* how many entries have a limit */
	size_t expiring;	    /* how many entries will expire, or have */
	int64_t expires_ms;	    /* no entry has expired before; NEVER while none will */
};

static struct tail_entry *entry_at(const struct tail *t, uint64_t seq)
{
	return &t->entries[seq & (t->entries_size - 1)];
}

static uint64_t entry_start(const struct tail *t, uint64_t seq, enum form form)
{
	return seq == t->first_seq ? t->frames[form].start : entry_at(t, seq - 1)->end[form];
}

static bool may_have(const struct reader *r, const struct limit *l)
{
	return !l || reader_may_have(r, l->to_user, l->has_exclude ? &l->exclude : NULL);
}

static bool is_for(const struct reader *r, const struct tail_entry *e, int64_t now_ms)
{
	return now_ms < e->expires_ms && may_have(r, e->limit);
}

/* Its JSON text; empty: it has none. */
static struct span text_of(const struct tail *t, uint64_t seq)
{
	const struct tail_entry *e = entry_at(t, seq);
	uint64_t start = entry_start(t, seq, PLAIN) + e->header;

	return e->end[PLAIN] > start ? (struct span){byte_fifo_at(&t->frames[PLAIN], start), e->end[PLAIN] - start}
				     : (struct span){0};
}

static bool is_wanted(const struct tail *t, const struct reader *r, uint64_t seq)
{
	return !r->types || message_types_have(r->types, text_of(t, seq));
}

/* Everybody gets all that is kept: what a fan-out finds nearly always. */
static bool is_for_everyone(const struct tail *t, int64_t now_ms)
{
	return t->limited == 0 && now_ms < t->expires_ms;
}

static void limit_free(struct limit **l)
{
	if (*l) {
		free((*l)->to_user);
		free(*l);
		*l = NULL;
	}
}

static struct limit *limit_new(const struct stored_message *m)
{
	struct limit *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	if (m->exclude) {
		l->has_exclude = true;
		l->exclude = *m->exclude;
	}
	if (m->to_user) {
		l->to_user = strdup(m->to_user);
		if (!l->to_user)
			limit_free(&l);
	}
	return l;
}

enum err tail_new(struct tail **t, uint64_t seq, size_t bytes_max, struct deflater *deflater)
{
	struct tail *made = calloc(1, sizeof(*made));

	if (!made)
		return ERR_MEMORY;
	made->bytes_max = bytes_max;
	made->deflater = deflater;
	made->first_seq = made->next_seq = seq + 1;
	made->expires_ms = NEVER;
	*t = made;
	return OK;
}

void tail_free(struct tail **t)
{
	if (!*t)
		return;
	tail_forget(*t, (*t)->next_seq - 1);
	free(*t);
	*t = NULL;
}

uint64_t tail_seq(const struct tail *t)
{
	return t->next_seq - 1;
}

uint64_t tail_floor(const struct tail *t)
{
	return t->first_seq - 1;
}

size_t tail_size(const struct tail *t)
{
	return t->frames[PLAIN].size + t->frames[COMPRESSED].size + t->entries_size * sizeof(*t->entries);
}

static void evict_oldest(struct tail *t)
{
	struct tail_entry *e = entry_at(t, t->first_seq);

	for (enum form form = PLAIN; form < FORMS; form++)
		byte_fifo_drop(&t->frames[form], e->end[form]);
	if (e->limit) {
		limit_free(&e->limit);
		t->limited--;
	}
	if (e->expires_ms != NEVER && --t->expiring == 0)
		t->expires_ms = NEVER;
	t->first_seq++;
}

static void forget_compressed(struct tail *t)
{
	for (uint64_t seq = t->first_seq; seq < t->next_seq; seq++)
		entry_at(t, seq)->end[COMPRESSED] = t->frames[COMPRESSED].end;
	byte_fifo_forget(&t->frames[COMPRESSED]);
	t->compressed_from = 0;
}

void tail_forget(struct tail *t, uint64_t seq)
{
	assert(seq + 1 >= t->next_seq);
	while (t->first_seq < t->next_seq)
		evict_oldest(t);
	assert(t->limited == 0 && t->expiring == 0);
	t->first_seq = t->next_seq = seq + 1;
	forget_compressed(t);
	byte_fifo_forget(&t->frames[PLAIN]);
	free(t->entries);
	t->entries = NULL;
	t->entries_size = 0;
}

void tail_compress(struct tail *t)
{
	if (t->deflater)
		t->compressed_until = t->next_seq + COMPRESSED_AHEAD;
}

/* Room for one more entry; the circle is copied to twice its size. */
static enum err grow_entries(struct tail *t)
{
	if (t->next_seq - t->first_seq < t->entries_size)
		return OK;

	size_t size = t->entries_size ? t->entries_size * 2 : ENTRIES_FIRST;
	struct tail_entry *entries = calloc(size, sizeof(*entries));

	if (!entries)
		return ERR_MEMORY;
	for (uint64_t seq = t->first_seq; seq < t->next_seq; seq++)
		entries[seq & (size - 1)] = *entry_at(t, seq);
	free(t->entries);
	t->entries = entries;
	t->entries_size = size;
	return OK;
}

/* Its frame for those who inflate, where there are such readers. False: there is none, or no memory for it. */
static bool compress_frame(const struct tail *t, struct span text, struct buf *frame)
{
	if (!text.bytes || t->next_seq >= t->compressed_until)
		return false;
	deflater_add_frame(t->deflater, frame, text);
	return buf_ok(frame);
}

/* Adds the compressed frame of the entry behind the last. Where there is none the fifo ends: all that is in it must be
 * whole. */
static void add_compressed(struct tail *t, const struct buf *frame, bool is_compressed)
{
	struct byte_fifo *l = &t->frames[COMPRESSED];

	if (is_compressed && byte_fifo_make_room(l, frame->len, t->bytes_max) == OK) {
		byte_fifo_add(l, frame->bytes, frame->len);
		if (t->compressed_from == 0)
			t->compressed_from = t->next_seq;
	} else if (t->compressed_from != 0) {
		forget_compressed(t);
	}
}

static bool is_full(const struct tail *t, size_t more)
{
	return byte_fifo_used(&t->frames[PLAIN]) + byte_fifo_used(&t->frames[COMPRESSED]) + more > t->bytes_max ||
	       (t->next_seq - t->first_seq) * FRAME_LEAST > t->bytes_max;
}

enum err tail_append(struct tail *t, const struct stored_message *m)
{
	uint8_t header[FRAME_HEADER_MAX];
	struct buf payload = BUF_EMPTY, compressed = BUF_EMPTY;
	struct limit *limit = NULL;
	int64_t expires_ms = m->expires_ms != 0 ? m->expires_ms : NEVER;
	size_t header_len = 0;
	bool is_compressed;
	enum err e;

	assert(m->seq == t->next_seq);
	if (m->body.bytes) {
		message_add(&payload, m->seq, m->epoch, m->body);
		header_len = frame_text_header(header, payload.len);
		if (m->to_user || m->exclude) {
			limit = limit_new(m);
			if (!limit)
				payload.failed = true;
		}
	}
	e = buf_ok(&payload) ? grow_entries(t) : ERR_MEMORY;

	is_compressed = compress_frame(t, (struct span){payload.bytes, payload.len}, &compressed);
	while (e == OK && t->first_seq < t->next_seq && is_full(t, header_len + payload.len + compressed.len))
		evict_oldest(t);
	if (e == OK)
		e = byte_fifo_make_room(&t->frames[PLAIN], header_len + payload.len, t->bytes_max);
	if (e == OK) {
		byte_fifo_add(&t->frames[PLAIN], header, header_len);
		byte_fifo_add(&t->frames[PLAIN], payload.bytes, payload.len);
		/* An expired one has no frame in either form. */
		add_compressed(t, &compressed, is_compressed || (!m->body.bytes && t->compressed_from != 0));
		*entry_at(t, m->seq) = (struct tail_entry){.end = {t->frames[PLAIN].end, t->frames[COMPRESSED].end},
							   .limit = limit,
							   .expires_ms = expires_ms,
							   .stored_ms = m->stored_ms,
							   .header = (uint32_t)header_len};
		t->limited += limit != NULL;
		t->expiring += expires_ms != NEVER;
		t->expires_ms = MIN(t->expires_ms, expires_ms);
		t->next_seq++;
	} else {
		limit_free(&limit);
	}
	buf_free(&payload);
	buf_free(&compressed);
	return e;
}

/* The last seq so that the frames from first to it fit into max_bytes; at least `first`. */
static uint64_t fitting(const struct tail *t, uint64_t first, enum form form, size_t max_bytes)
{
	uint64_t from = entry_start(t, first, form);
	uint64_t low = first, high = t->next_seq - 1;

	if (entry_at(t, high)->end[form] - from <= max_bytes)
		return high;
	while (low < high) {
		uint64_t middle = low + (high - low + 1) / 2;

		if (entry_at(t, middle)->end[form] - from <= max_bytes)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/*
 * The last seq of those from first to end that go out in one write: up to the first that has a limit, has expired, or is not
 * wanted. One that has a limit goes by itself.
 */
static uint64_t together(const struct tail *t, const struct reader *r, uint64_t first, uint64_t end, int64_t now_ms)
{
	if (entry_at(t, first)->limit)
		return first;
	for (uint64_t seq = first + 1; seq <= end; seq++) {
		const struct tail_entry *e = entry_at(t, seq);

		if (e->limit || now_ms >= e->expires_ms || !is_wanted(t, r, seq))
			return seq - 1;
	}
	return end;
}

/* The first seq from `first` on that is for the reader, and wanted; next_seq: there is none. */
static uint64_t pass_over(const struct tail *t, const struct reader *r, uint64_t first, int64_t now_ms,
			  struct delivery *d)
{
	for (; first < t->next_seq; first++) {
		if (!is_for(r, entry_at(t, first), now_ms) || text_of(t, first).len == 0)
			continue;
		if (is_wanted(t, r, first))
			break;
		if (d->withheld_from == 0)
			d->withheld_from = first;
		d->withheld_to = first;
	}
	return first;
}

enum err tail_after(const struct tail *t, uint64_t seq, const struct reader *reader, int64_t now_ms, size_t max_bytes,
		    struct delivery *d)
{
	uint64_t first = seq + 1, from;
	enum form form = PLAIN;

	*d = (struct delivery){.last = seq, .age_ms = -1};
	if (first < t->first_seq)
		return ERR_EVICTED;
	if (first >= t->next_seq)
		return OK;

	if (reader->inflates && t->compressed_from != 0 && first >= t->compressed_from)
		form = COMPRESSED;
	if (is_for_everyone(t, now_ms) && !reader->types) {
		d->last = fitting(t, first, form, max_bytes);
	} else {
		first = pass_over(t, reader, first, now_ms, d);
		if (first == t->next_seq) {
			d->last = first - 1;
			return OK;
		}
		d->last = together(t, reader, first, fitting(t, first, form, max_bytes), now_ms);
		d->private = entry_at(t, first)->limit && entry_at(t, first)->limit->to_user;
	}
	from = entry_start(t, first, form);
	if (entry_at(t, first)->stored_ms != 0)
		d->age_ms = now_ms - entry_at(t, first)->stored_ms;
	d->bytes = (struct span){byte_fifo_at(&t->frames[form], from), entry_at(t, d->last)->end[form] - from};
	/* A message that had expired when it was fetched has no frame. */
	for (uint64_t s = first; s <= d->last; s++)
		d->count += entry_at(t, s)->header > 0;
	return OK;
}

struct tail_text tail_message(const struct tail *t, uint64_t seq, const struct reader *reader, int64_t now_ms)
{
	assert(seq >= t->first_seq && seq < t->next_seq);

	const struct tail_entry *e = entry_at(t, seq);
	struct tail_text text = {.expires_ms = e->expires_ms != NEVER ? e->expires_ms : 0,
				 .private = e->limit && e->limit->to_user};

	if (!is_for(reader, e, now_ms))
		return text;
	text.text = text_of(t, seq);
	text.withheld = text.text.len > 0 && !is_wanted(t, reader, seq);
	if (text.withheld)
		text.text = (struct span){0};
	return text;
}
