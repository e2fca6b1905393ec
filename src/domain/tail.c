#include "domain/tail.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "domain/frame.h"
#include "domain/message.h"

#define ENTRIES_FIRST 16
#define FRAME_LEAST \
	8 /* bytes, and less than any frame: so that expired messages, which have none, are not kept without end */

/* Who gets a message; only few have one. */
struct limit {
	char *to_user; /* owned; NULL: everyone */
	bool has_exclude;
	struct uuid exclude;
};

struct entry {
	uint64_t end;	     /* stream offset after its frame */
	struct limit *limit; /* owned; NULL: for everyone */
	uint32_t header;     /* bytes of the frame's header */
};

struct tail {
	size_t bytes_max;
	uint64_t first_seq; /* of the oldest entry; next_seq when there is none */
	uint64_t next_seq;
	uint64_t start;	       /* stream offset of the oldest frame's first byte */
	uint64_t end;	       /* stream offset after the newest frame */
	char *bytes;	       /* frames, back to back */
	size_t head;	       /* where `start` is in bytes */
	size_t size;	       /* allocated */
	struct entry *entries; /* circular, by seq */
	size_t entries_size;   /* a power of two; 0 at first */
	size_t limited;	       /* how many entries have a limit */
};

bool reader_may_have(const struct reader *r, const char *to_user, const struct uuid *exclude)
{
	if (to_user && (!r->user_id || strcmp(r->user_id, to_user) != 0))
		return false;
	return !exclude || !uuid_equal(exclude, &r->connection_id);
}

static struct entry *entry_at(const struct tail *t, uint64_t seq)
{
	return &t->entries[seq & (t->entries_size - 1)];
}

static uint64_t entry_start(const struct tail *t, uint64_t seq)
{
	return seq == t->first_seq ? t->start : entry_at(t, seq - 1)->end;
}

static const char *bytes_at(const struct tail *t, uint64_t offset)
{
	size_t at = t->head + (offset - t->start);

	return at > 0 ? t->bytes + at : t->bytes; /* to NULL not even 0 may be added */
}

static bool may_have(const struct reader *r, const struct limit *l)
{
	return !l || reader_may_have(r, l->to_user, l->has_exclude ? &l->exclude : NULL);
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

enum err tail_new(struct tail **t, uint64_t seq, size_t bytes_max)
{
	struct tail *made = calloc(1, sizeof(*made));

	if (!made)
		return ERR_MEMORY;
	made->bytes_max = bytes_max;
	made->first_seq = made->next_seq = seq + 1;
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
	return t->size + t->entries_size * sizeof(*t->entries);
}

static void evict_oldest(struct tail *t)
{
	struct entry *e = entry_at(t, t->first_seq);

	t->head += e->end - t->start;
	t->start = e->end;
	if (e->limit) {
		limit_free(&e->limit);
		t->limited--;
	}
	t->first_seq++;
	if (t->start == t->end)
		t->head = 0;
}

void tail_forget(struct tail *t, uint64_t seq)
{
	assert(seq + 1 >= t->next_seq);
	while (t->first_seq < t->next_seq)
		evict_oldest(t);
	t->first_seq = t->next_seq = seq + 1;
	free(t->bytes);
	free(t->entries);
	t->bytes = NULL;
	t->entries = NULL;
	t->size = t->entries_size = 0;
	t->head = 0;
}

/* Room for one more entry; the circle is copied to twice its size. */
static enum err grow_entries(struct tail *t)
{
	if (t->next_seq - t->first_seq < t->entries_size)
		return OK;

	size_t size = t->entries_size ? t->entries_size * 2 : ENTRIES_FIRST;
	struct entry *entries = calloc(size, sizeof(*entries));

	if (!entries)
		return ERR_MEMORY;
	for (uint64_t seq = t->first_seq; seq < t->next_seq; seq++)
		entries[seq & (size - 1)] = *entry_at(t, seq);
	free(t->entries);
	t->entries = entries;
	t->entries_size = size;
	return OK;
}

/* Room for `len` more bytes after the newest frame. */
static enum err grow_bytes(struct tail *t, size_t len)
{
	size_t used = t->end - t->start;

	if (t->head + used + len <= t->size)
		return OK;
	if (used + len <= t->size && t->head >= t->size / 2) {
		memmove(t->bytes, t->bytes + t->head, used);
		t->head = 0;
		return OK;
	}

	size_t size = MAX(used + len, MIN(t->size * 2, t->bytes_max * 2));
	char *bytes = malloc(size);

	if (!bytes)
		return ERR_MEMORY;
	if (used > 0)
		memcpy(bytes, t->bytes + t->head, used);
	free(t->bytes);
	t->bytes = bytes;
	t->size = size;
	t->head = 0;
	return OK;
}

enum err tail_append(struct tail *t, const struct stored_message *m)
{
	uint8_t header[FRAME_HEADER_MAX];
	struct buf payload = BUF_EMPTY;
	struct limit *limit = NULL;
	size_t header_len = 0;
	enum err e;

	assert(m->seq == t->next_seq);
	if (m->body.bytes) {
		message_add(&payload, m->seq, m->body.bytes, m->body.len);
		header_len = frame_text_header(header, payload.len);
		if (m->to_user || m->exclude) {
			limit = limit_new(m);
			if (!limit)
				payload.failed = true;
		}
	}
	e = buf_ok(&payload) ? grow_entries(t) : ERR_MEMORY;

	size_t len = header_len + payload.len;

	while (e == OK && t->first_seq < t->next_seq &&
	       (t->end - t->start + len > t->bytes_max || (t->next_seq - t->first_seq) * FRAME_LEAST > t->bytes_max))
		evict_oldest(t);
	if (e == OK)
		e = grow_bytes(t, len);
	if (e != OK) {
		limit_free(&limit);
		buf_free(&payload);
		return e;
	}
	if (len > 0) {
		char *to = t->bytes + t->head + (t->end - t->start);

		memcpy(to, header, header_len);
		memcpy(to + header_len, payload.bytes, payload.len);
	}
	t->end += len;
	*entry_at(t, m->seq) = (struct entry){.end = t->end, .limit = limit, .header = (uint32_t)header_len};
	t->limited += limit != NULL;
	t->next_seq++;
	buf_free(&payload);
	return OK;
}

/* The last seq so that the frames from first to it fit into max_bytes; at least `first`. */
static uint64_t fitting(const struct tail *t, uint64_t first, size_t max_bytes)
{
	uint64_t from = entry_start(t, first);
	uint64_t low = first, high = t->next_seq - 1;

	if (entry_at(t, high)->end - from <= max_bytes)
		return high;
	while (low < high) {
		uint64_t middle = low + (high - low + 1) / 2;

		if (entry_at(t, middle)->end - from <= max_bytes)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

enum err tail_after(const struct tail *t, uint64_t seq, const struct reader *reader, size_t max_bytes,
		    struct span *bytes, uint64_t *last, unsigned *count, bool *private)
{
	uint64_t first = seq + 1, end;

	*bytes = (struct span){0};
	*last = seq;
	*count = 0;
	*private = false;
	if (first < t->first_seq)
		return ERR_EVICTED;
	if (first >= t->next_seq)
		return OK;

	if (t->limited == 0) {
		end = fitting(t, first, max_bytes);
	} else {
		while (first < t->next_seq && !may_have(reader, entry_at(t, first)->limit))
			first++;
		if (first == t->next_seq) {
			*last = first - 1;
			return OK;
		}
		end = fitting(t, first, max_bytes);
		/* Up to the first that has a limit; one that is this reader's alone goes by itself. */
		if (entry_at(t, first)->limit) {
			*private = entry_at(t, first)->limit->to_user != NULL;
			end = first;
		}
		for (uint64_t s = first + 1; s <= end; s++) {
			if (entry_at(t, s)->limit)
				end = s - 1;
		}
	}
	*bytes = (struct span){bytes_at(t, entry_start(t, first)), entry_at(t, end)->end - entry_start(t, first)};
	*last = end;
	/* One that has expired has no frame. */
	for (uint64_t s = first; s <= end; s++)
		*count += entry_at(t, s)->header > 0;
	return OK;
}

struct span tail_message(const struct tail *t, uint64_t seq, const struct reader *reader, bool *private)
{
	assert(seq >= t->first_seq && seq < t->next_seq);

	const struct entry *e = entry_at(t, seq);
	uint64_t start = entry_start(t, seq) + e->header;

	*private = e->limit && e->limit->to_user;
	if (!may_have(reader, e->limit) || e->end == start)
		return (struct span){0};
	return (struct span){bytes_at(t, start), e->end - start};
}
