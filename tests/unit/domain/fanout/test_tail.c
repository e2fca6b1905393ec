#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "domain/fanout/tail.h"
#include "tests/unit/frames.h"
#include "tests/unit/inflate.h"

#define ALL SIZE_MAX
#define NOW_MS 1000

static const struct reader anyone = {.connection_id = {.bytes = {1}}};
static const struct reader ann = {.user_id = "ann", .connection_id = {.bytes = {2}}};
static const struct reader bob = {.user_id = "bob", .connection_id = {.bytes = {3}}};

struct answer {
	enum err e;
	struct span bytes;
	uint64_t last;
	unsigned count;
	bool private;
};

static struct answer after_at(const struct tail *t, uint64_t seq, const struct reader *r, int64_t now_ms,
			      size_t max_bytes)
{
	struct delivery d;
	enum err e = tail_after(t, seq, r, now_ms, max_bytes, &d);

	return (struct answer){e, d.bytes, d.last, d.count, d.private};
}

static struct answer after(const struct tail *t, uint64_t seq, const struct reader *r, size_t max_bytes)
{
	return after_at(t, seq, r, NOW_MS, max_bytes);
}

static struct tail *tail_from(uint64_t seq, size_t bytes_max)
{
	struct tail *t = NULL;

	assert_int_equal(tail_new(&t, seq, bytes_max, NULL), OK);
	return t;
}

static void append(struct tail *t, const char *body, const char *to_user, const struct uuid *exclude)
{
	struct stored_message m = {.seq = tail_seq(t) + 1, .to_user = to_user, .exclude = exclude};

	m.body = (struct span){body, body ? strlen(body) : 0};
	assert_int_equal(tail_append(t, &m), OK);
}

static void append_expiring(struct tail *t, const char *body, int64_t expires_ms)
{
	struct stored_message m = {.seq = tail_seq(t) + 1, .body = {body, strlen(body)}, .expires_ms = expires_ms};

	assert_int_equal(tail_append(t, &m), OK);
}

/* Appends a message whose frame has exactly so many bytes, 27..127. */
static void append_sized(struct tail *t, size_t frame_bytes)
{
	char body[128], text[32];
	/* header, {"seq":N, in place of {, {"a":""} */
	int around = 2 + snprintf(text, sizeof(text), "{\"seq\":%llu,", (unsigned long long)(tail_seq(t) + 1)) - 1 + 8;

	snprintf(body, sizeof(body), "{\"a\":\"%0*d\"}", (int)frame_bytes - around, 0);
	append(t, body, NULL, NULL);
}

static void assert_seqs(struct span bytes, const uint64_t *seqs, size_t count)
{
	struct span payload;
	size_t n = 0;

	for (; frames_next(&bytes, &payload); n++) {
		assert_true(n < count);
		assert_true(frames_seq(payload) == seqs[n]);
	}
	assert_int_equal(n, count);
}

static void makes_a_whole_frame_with_the_seq_in_front(void **state)
{
	static const char expected[] = "\x81\x11{\"seq\":8,\"a\":\"b\"}\x81\x09{\"seq\":9}";
	struct tail *t = tail_from(7, 1000);
	struct answer a;

	(void)state;
	append(t, "{\"a\":\"b\"}", NULL, NULL);
	append(t, "{}", NULL, NULL);
	a = after(t, 7, &anyone, ALL);
	assert_int_equal(a.e, OK);
	assert_int_equal(a.bytes.len, sizeof(expected) - 1);
	assert_memory_equal(a.bytes.bytes, expected, sizeof(expected) - 1);
	assert_int_equal(a.last, 9);
	assert_int_equal(a.count, 2);
	assert_false(a.private);
	tail_free(&t);
}

static void an_empty_one_has_nothing_after_its_seq_and_has_evicted_what_is_before(void **state)
{
	struct tail *t = tail_from(41, 1000);
	struct answer a = after(t, 41, &anyone, ALL);

	(void)state;
	assert_int_equal(tail_seq(t), 41);
	assert_int_equal(tail_floor(t), 41);
	assert_int_equal(a.e, OK);
	assert_int_equal(a.bytes.len, 0);
	assert_int_equal(a.last, 41);
	assert_int_equal(after(t, 40, &anyone, ALL).e, ERR_EVICTED);
	assert_int_equal(after(t, 0, &anyone, ALL).e, ERR_EVICTED);
	/* Somebody who has more than the tail lacks nothing that it knows of. */
	a = after(t, 50, &anyone, ALL);
	assert_int_equal(a.e, OK);
	assert_int_equal(a.last, 50);
	tail_free(&t);
	tail_free(&t);
	assert_null(t);
}

static void evicts_the_oldest_when_one_byte_too_many_comes(void **state)
{
	struct tail *t = tail_from(0, 100);

	(void)state;
	append_sized(t, 50);
	append_sized(t, 50);
	assert_int_equal(tail_floor(t), 0);
	append_sized(t, 50);
	assert_int_equal(tail_floor(t), 1);
	assert_int_equal(after(t, 0, &anyone, ALL).e, ERR_EVICTED);
	assert_seqs(after(t, 1, &anyone, ALL).bytes, (uint64_t[]){2, 3}, 2);
	append_sized(t, 51);
	assert_int_equal(tail_floor(t), 3);
	assert_int_equal(after(t, 2, &anyone, ALL).e, ERR_EVICTED);
	assert_seqs(after(t, 3, &anyone, ALL).bytes, (uint64_t[]){4}, 1);
	tail_free(&t);
}

static void keeps_a_frame_larger_than_its_maximum_alone_until_the_next(void **state)
{
	static char body[70001];
	struct tail *t = tail_from(0, 100);
	struct answer a;

	(void)state;
	snprintf(body, sizeof(body), "{\"a\":\"%069000d\"}", 0);
	append_sized(t, 50);
	append(t, body, NULL, NULL);
	assert_int_equal(tail_floor(t), 1);
	a = after(t, 1, &anyone, 10);
	assert_int_equal(a.bytes.len, 10 + strlen(body) + strlen("\"seq\":2,"));
	assert_seqs(a.bytes, (uint64_t[]){2}, 1);
	append_sized(t, 50);
	append_sized(t, 50);
	assert_int_equal(tail_floor(t), 2);
	assert_seqs(after(t, 2, &anyone, ALL).bytes, (uint64_t[]){3, 4}, 2);
	tail_free(&t);
}

static void gives_as_many_whole_frames_as_fit_and_one_at_least(void **state)
{
	struct tail *t = tail_from(0, 10000);

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		append_sized(t, 50);
	for (size_t max = 0; max <= 5100; max++) {
		struct answer a = after(t, 3, &anyone, max);
		size_t expected = max < 50 ? 1 : max / 50 > 97 ? 97 : max / 50;

		assert_int_equal(a.count, expected);
		assert_int_equal(a.bytes.len, expected * 50);
		assert_int_equal(a.last, 3 + expected);
	}
	tail_free(&t);
}

static void keeps_the_order_of_thousands_while_its_circle_grows_from_any_offset(void **state)
{
	(void)state;
	/* The circle doubles at 16, 32, …: with its first entry at every place in it. */
	for (uint64_t start = 0; start < 20; start++) {
		struct tail *t = tail_from(start, 1 << 20);
		struct span bytes, payload;
		uint64_t seq = start;

		for (unsigned i = 0; i < 1000; i++)
			append(t, "{\"n\":1}", NULL, NULL);
		bytes = after(t, start, &anyone, ALL).bytes;
		while (frames_next(&bytes, &payload))
			assert_true(frames_seq(payload) == ++seq);
		assert_true(seq == start + 1000);
		tail_free(&t);
	}
}

static void its_memory_stays_within_twice_its_maximum_and_its_entries(void **state)
{
	struct tail *t = tail_from(0, 4096);

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		append_sized(t, 60 + i % 60);
		assert_true(tail_size(t) <= 2 * 4096 + 128 * 24);
	}
	tail_free(&t);
}

static void gives_a_message_for_one_user_to_that_user_alone_and_by_itself(void **state)
{
	struct tail *t = tail_from(0, 10000);
	struct answer a;

	(void)state;
	append(t, "{\"n\":1}", NULL, NULL);
	append(t, "{\"n\":2}", "ann", NULL);
	append(t, "{\"n\":3}", NULL, NULL);
	append(t, "{\"n\":4}", "bob", NULL);

	a = after(t, 0, &ann, ALL);
	assert_seqs(a.bytes, (uint64_t[]){1}, 1);
	assert_false(a.private);
	a = after(t, a.last, &ann, ALL);
	assert_seqs(a.bytes, (uint64_t[]){2}, 1);
	assert_true(a.private);
	assert_int_equal(a.count, 1);
	a = after(t, a.last, &ann, ALL);
	assert_seqs(a.bytes, (uint64_t[]){3}, 1);
	assert_false(a.private);
	a = after(t, a.last, &ann, ALL);
	assert_int_equal(a.bytes.len, 0);
	assert_int_equal(a.count, 0);
	assert_int_equal(a.last, 4);

	a = after(t, 1, &anyone, ALL);
	assert_seqs(a.bytes, (uint64_t[]){3}, 1);
	assert_int_equal(a.last, 3);
	tail_free(&t);
}

static void leaves_out_the_one_connection_that_is_excluded(void **state)
{
	struct tail *t = tail_from(0, 10000);
	struct answer a;

	(void)state;
	append(t, "{\"n\":1}", NULL, &ann.connection_id);
	append(t, "{\"n\":2}", NULL, NULL);
	a = after(t, 0, &ann, ALL);
	assert_seqs(a.bytes, (uint64_t[]){2}, 1);
	a = after(t, 0, &bob, ALL);
	assert_seqs(a.bytes, (uint64_t[]){1}, 1);
	/* For all but one is not for one alone. */
	assert_false(a.private);
	tail_free(&t);
}

static void a_limit_of_both_kinds_needs_both(void **state)
{
	const struct uuid none = {{0}};

	(void)state;
	assert_true(reader_may_have(&ann, "ann", &none));
	assert_false(reader_may_have(&ann, "ann", &ann.connection_id));
	assert_false(reader_may_have(&ann, "bob", &none));
	assert_false(reader_may_have(&anyone, "ann", NULL));
	assert_true(reader_may_have(&anyone, NULL, NULL));
	assert_false(reader_may_have(&ann, "anna", NULL));
	assert_false(reader_may_have(&ann, "an", NULL));
}

/* An expired message was counted as sent. */
static void an_expired_message_has_a_seq_but_is_nothing_that_is_sent(void **state)
{
	struct tail *t = tail_from(0, 10000);
	struct answer a;

	(void)state;
	append(t, NULL, NULL, NULL);
	a = after(t, 0, &anyone, ALL);
	assert_int_equal(a.e, OK);
	assert_int_equal(a.bytes.len, 0);
	assert_int_equal(a.last, 1);
	assert_int_equal(a.count, 0);
	append(t, "{\"n\":2}", NULL, NULL);
	append(t, NULL, "ann", NULL);
	append(t, "{\"n\":4}", NULL, NULL);
	append(t, NULL, NULL, NULL);
	a = after(t, 0, &anyone, ALL);
	assert_seqs(a.bytes, (uint64_t[]){2, 4}, 2);
	assert_int_equal(a.last, 5);
	assert_int_equal(a.count, 2);
	tail_free(&t);
}

/* Messages whose time was over came from memory to whoever resumed: only the database looked at their time. */
static void passes_over_a_message_from_when_it_expires(void **state)
{
	struct tail *t = tail_from(0, 10000);
	struct answer a;

	(void)state;
	append(t, "{}", NULL, NULL);
	append_expiring(t, "{}", 2000);
	append(t, "{}", NULL, NULL);
	append_expiring(t, "{}", 3000);
	assert_seqs(after_at(t, 0, &anyone, 1999, ALL).bytes, (uint64_t[]){1, 2, 3, 4}, 4);
	a = after_at(t, 0, &anyone, 2000, ALL);
	assert_seqs(a.bytes, (uint64_t[]){1}, 1);
	assert_int_equal(a.last, 1);
	assert_int_equal(a.count, 1);
	a = after_at(t, 1, &anyone, 2000, ALL);
	assert_seqs(a.bytes, (uint64_t[]){3, 4}, 2);
	assert_int_equal(a.last, 4);
	/* Nothing is left for who has what came before: all of it is had. */
	a = after_at(t, 3, &anyone, 3000, ALL);
	assert_int_equal(a.bytes.len, 0);
	assert_int_equal(a.last, 4);
	assert_int_equal(a.count, 0);
	append(t, "{}", NULL, NULL);
	assert_seqs(after_at(t, 3, &anyone, 3000, ALL).bytes, (uint64_t[]){5}, 1);
	tail_free(&t);
}

static void gives_the_text_of_one_message_to_who_may_have_it(void **state)
{
	struct tail *t = tail_from(0, 10000);
	struct tail_text m;

	(void)state;
	append(t, "{\"n\":1}", NULL, NULL);
	append(t, "{\"n\":2}", "ann", NULL);
	append(t, NULL, NULL, NULL);
	append_expiring(t, "{\"n\":4}", NOW_MS + 1);
	m = tail_message(t, 1, &anyone, NOW_MS);
	assert_int_equal(m.text.len, strlen("{\"seq\":1,\"n\":1}"));
	assert_memory_equal(m.text.bytes, "{\"seq\":1,\"n\":1}", m.text.len);
	assert_false(m.private);
	assert_int_equal(m.expires_ms, 0);
	assert_int_equal(tail_message(t, 2, &bob, NOW_MS).text.len, 0);
	m = tail_message(t, 2, &ann, NOW_MS);
	assert_int_equal(m.text.len, strlen("{\"seq\":2,\"n\":2}"));
	assert_true(m.private);
	assert_int_equal(tail_message(t, 3, &ann, NOW_MS).text.len, 0);
	m = tail_message(t, 4, &ann, NOW_MS);
	assert_int_equal(m.text.len, strlen("{\"seq\":4,\"n\":4}"));
	assert_int_equal(m.expires_ms, NOW_MS + 1);
	assert_int_equal(tail_message(t, 4, &ann, NOW_MS + 1).text.len, 0);
	tail_free(&t);
}

static void passes_over_types_that_the_reader_does_not_want_and_says_so(void **state)
{
	struct tail *t = tail_from(0, 10000);
	struct reader picky = ann;
	struct message_types *types = NULL;
	struct delivery d;

	(void)state;
	assert_int_equal(message_types_of_list(&types, (struct span){"a,c", 3}), OK);
	picky.types = types;
	append(t, "{\"type\":\"b\"}", NULL, NULL);
	append(t, "{\"type\":\"a\"}", NULL, NULL);
	append(t, "{\"type\":\"c\"}", NULL, NULL);
	append(t, "{\"type\":\"b\"}", "bob", NULL);
	append(t, NULL, NULL, NULL);
	append(t, "{\"type\":\"b\"}", NULL, NULL);
	append(t, "{\"type\":\"b\"}", NULL, NULL);
	append(t, "{\"type\":\"a\"}", "ann", NULL);
	append(t, "{\"type\":\"b\"}", NULL, NULL);
	assert_int_equal(tail_after(t, 0, &picky, NOW_MS, ALL, &d), OK);
	assert_seqs(d.bytes, (uint64_t[]){2, 3}, 2);
	assert_int_equal(d.last, 3);
	assert_int_equal(d.withheld_from, 1);
	assert_int_equal(d.withheld_to, 1);
	/* What is for somebody else, or is not there any more, is not withheld. */
	assert_int_equal(tail_after(t, 3, &picky, NOW_MS, ALL, &d), OK);
	assert_seqs(d.bytes, (uint64_t[]){8}, 1);
	assert_true(d.private);
	assert_int_equal(d.withheld_from, 6);
	assert_int_equal(d.withheld_to, 7);
	assert_int_equal(tail_after(t, 8, &picky, NOW_MS, ALL, &d), OK);
	assert_int_equal(d.bytes.len, 0);
	assert_int_equal(d.last, 9);
	assert_int_equal(d.withheld_from, 9);
	assert_true(tail_message(t, 9, &picky, NOW_MS).withheld);
	assert_int_equal(tail_message(t, 9, &picky, NOW_MS).text.len, 0);
	assert_false(tail_message(t, 4, &picky, NOW_MS).withheld);
	assert_false(tail_message(t, 8, &picky, NOW_MS).withheld);
	message_types_unref(&types);
	tail_free(&t);
}

/* The entries were kept: tails that had been forgotten still took their room. */
static void forgets_all_with_its_memory_and_goes_on_behind_a_hole(void **state)
{
	struct tail *t = tail_from(0, 10000);

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		append(t, "{\"n\":1}", i % 3 ? NULL : "ann", NULL);
	tail_forget(t, 100);
	assert_int_equal(tail_size(t), 0);
	assert_int_equal(tail_seq(t), 100);
	assert_int_equal(tail_floor(t), 100);
	tail_forget(t, 149);
	assert_int_equal(tail_seq(t), 149);
	assert_int_equal(after(t, 100, &anyone, ALL).e, ERR_EVICTED);
	append(t, "{\"n\":150}", NULL, NULL);
	assert_int_equal(after(t, 148, &anyone, ALL).e, ERR_EVICTED);
	assert_seqs(after(t, 149, &anyone, ALL).bytes, (uint64_t[]){150}, 1);
	tail_free(&t);
}

/* ---- against a naive model: all messages ever, and a sum */

#define MODEL_MESSAGES 6000
#define MODEL_MAX 9000 /* bytes: some frames are larger */

struct model_message {
	size_t frame_bytes; /* 0: expired, or before a hole */
	const char *to_user;
	const struct uuid *exclude;
	int64_t expires_ms; /* 0: never */
};

struct model {
	struct model_message messages[MODEL_MESSAGES + 1]; /* by seq */
	uint64_t first, next;				   /* kept: first…next-1 */
	size_t bytes;
	int64_t now_ms;
};

static bool model_has(const struct model *m, uint64_t seq, const struct reader *r)
{
	return m->messages[seq].frame_bytes > 0 &&
	       (m->messages[seq].expires_ms == 0 || m->now_ms < m->messages[seq].expires_ms) &&
	       reader_may_have(r, m->messages[seq].to_user, m->messages[seq].exclude);
}

static void model_append(struct model *m, uint64_t *random, struct tail *t)
{
	static char body[80000];
	static const char *const users[] = {"ann", "bob"};
	static const struct uuid *const excludes[] = {&ann.connection_id, &bob.connection_id};
	struct model_message *now = &m->messages[m->next];
	size_t kind = pick(random, 100), fill = pick(random, 300);

	*now = (struct model_message){0};
	if (kind == 0)
		fill = 65400 + pick(random, 200);
	else if (kind < 4)
		fill = pick(random, MODEL_MAX + 500);
	/* Long stretches without a limit: they take another way. */
	if (m->next / 300 % 2 == 0 && kind > 80)
		now->to_user = users[pick(random, 2)];
	if (m->next / 300 % 2 == 0 && kind > 70 && kind < 90)
		now->exclude = excludes[pick(random, 2)];
	if (kind > 50 && kind < 57) {
		append(t, NULL, now->to_user, now->exclude);
	} else {
		char seq[32];
		size_t payload =
			fill + 8 + (size_t)snprintf(seq, sizeof(seq), "\"seq\":%llu,", (unsigned long long)m->next);

		memset(body, 'x', fill + 8);
		memcpy(body, "{\"a\":\"", 6);
		memcpy(body + 6 + fill, "\"}", 3);
		now->frame_bytes = payload + (payload < 126 ? 2 : payload < 65536 ? 4 : 10);
		if (m->next / 100 % 3 == 0 && pick(random, 4) == 0)
			now->expires_ms = m->now_ms + 1 + (int64_t)pick(random, 60);
		assert_int_equal(tail_append(t, &(struct stored_message){.seq = m->next,
									 .body = {body, strlen(body)},
									 .expires_ms = now->expires_ms,
									 .to_user = now->to_user,
									 .exclude = now->exclude}),
				 OK);
	}
	while (m->first < m->next && m->bytes + now->frame_bytes > MODEL_MAX)
		m->bytes -= m->messages[m->first++].frame_bytes;
	m->bytes += now->frame_bytes;
	m->next++;
	m->now_ms++;
}

/* One answer must be what the model says, and as long as it may be. */
static uint64_t model_check(const struct model *m, const struct tail *t, uint64_t seq, const struct reader *r,
			    size_t max)
{
	struct answer a = after_at(t, seq, r, m->now_ms, max);
	struct span rest = a.bytes, payload;
	uint64_t at = seq;
	unsigned count = 0;

	if (seq + 1 < m->first) {
		assert_int_equal(a.e, ERR_EVICTED);
		return m->next - 1;
	}
	assert_int_equal(a.e, OK);
	assert_true(a.last < m->next);
	assert_true(seq == m->next - 1 || a.last > seq);
	for (; frames_next(&rest, &payload); count++) {
		while (!model_has(m, ++at, r))
			assert_true(at < m->next);
		assert_true(frames_seq(payload) == at);
	}
	while (at < a.last)
		assert_false(model_has(m, ++at, r));
	assert_int_equal(count, a.count);
	assert_true(a.bytes.len <= max || count == 1);
	if (a.private) {
		assert_int_equal(count, 1);
		while (!model_has(m, at, r))
			at--;
		assert_non_null(m->messages[at].to_user);
	} else {
		for (uint64_t s = seq + 1; s <= a.last; s++)
			assert_false(model_has(m, s, r) && m->messages[s].to_user);
	}
	return a.last;
}

static void is_a_list_of_messages_that_loses_its_oldest(void **state)
{
	static const struct reader *const readers[] = {&anyone, &ann, &bob};
	static struct model m;
	uint64_t random = 20261121;
	struct tail *t = tail_from(0, MODEL_MAX);

	(void)state;
	m.first = m.next = 1;
	while (m.next <= MODEL_MESSAGES) {
		model_append(&m, &random, t);
		assert_true(tail_floor(t) == m.first - 1);
		assert_true(tail_seq(t) == m.next - 1);
		if (pick(&random, 200) == 0 && m.next + 20 < MODEL_MESSAGES) {
			m.next += pick(&random, 10);
			m.first = m.next;
			m.bytes = 0;
			tail_forget(t, m.next - 1);
		}
		for (unsigned i = 0; i < 3; i++) {
			const struct reader *r = readers[i];
			uint64_t from = m.first > 4 ? m.first - 4 : 0;
			uint64_t seq = from + pick(&random, m.next - from);
			size_t max = pick(&random, 3) ? pick(&random, 2 * MODEL_MAX) : ALL;

			while (seq < m.next - 1)
				seq = model_check(&m, t, seq, r, max);
			model_check(&m, t, seq, r, max);
		}
		if (m.first < m.next) {
			uint64_t seq = m.first + pick(&random, m.next - m.first);
			struct span text = tail_message(t, seq, &ann, m.now_ms).text;

			assert_int_equal(text.len > 0, model_has(&m, seq, &ann));
			if (text.len > 0)
				assert_true(frames_seq(text) == seq);
		}
	}
	tail_free(&t);
}

/* ---- compressed */

static const struct reader inflater = {.user_id = "ann", .connection_id = {.bytes = {4}}, .inflates = true};

/* Appends a message that gets shorter compressed. */
static void append_long(struct tail *t, const char *to_user)
{
	append(t, "{\"a\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"}", to_user, NULL);
}

/* Reads all after `seq` in pieces of at most max_bytes; each message once, in order. How many came compressed. */
static unsigned read_all(const struct tail *t, uint64_t seq, const struct reader *r, size_t max_bytes)
{
	unsigned compressed_count = 0;

	while (seq < tail_seq(t)) {
		struct answer a = after(t, seq, r, max_bytes);
		struct buf text = BUF_EMPTY;
		unsigned count = 0;
		bool compressed;

		assert_int_equal(a.e, OK);
		while (inflate_next(&a.bytes, &text, &compressed)) {
			assert_true(frames_seq((struct span){text.bytes, text.len}) > seq);
			seq = frames_seq((struct span){text.bytes, text.len});
			count++;
			compressed_count += compressed;
			buf_free(&text);
		}
		assert_int_equal(a.bytes.len, 0);
		assert_int_equal(count, a.count);
		assert_true(a.last >= seq);
		seq = a.last;
	}
	return compressed_count;
}

static void compresses_from_when_on_somebody_inflates_and_the_others_get_it_as_it_is(void **state)
{
	struct deflater *d;
	struct tail *t;

	(void)state;
	assert_int_equal(deflater_new(&d), OK);
	assert_int_equal(tail_new(&t, 0, 100000, d), OK);
	append_long(t, NULL);
	append_long(t, NULL);
	assert_int_equal(read_all(t, 0, &inflater, ALL), 0);
	tail_compress(t);
	append_long(t, NULL);
	append(t, "{}", NULL, NULL); /* would not get shorter */
	append(t, NULL, NULL, NULL); /* expired */
	append_long(t, NULL);
	assert_int_equal(read_all(t, 2, &inflater, ALL), 2);
	assert_int_equal(read_all(t, 2, &inflater, 1), 2);
	assert_int_equal(read_all(t, 3, &inflater, ALL), 1);
	append_expiring(t, "{\"a\":\"cccccccccccccccccccccccccccccccccccccccccccccccccccccccc\"}", NOW_MS);
	append_long(t, NULL);
	assert_int_equal(read_all(t, 3, &inflater, ALL), 2);
	assert_int_equal(after(t, 6, &inflater, ALL).count, 1);
	assert_int_equal(read_all(t, 2, &inflater, 1), 3);
	/* One that lacks what was never compressed goes on with what is, from its next write on. */
	assert_int_equal(read_all(t, 0, &inflater, 1), 3);
	assert_int_equal(read_all(t, 0, &ann, ALL), 0);
	tail_free(&t);
	deflater_free(&d);
}

static void compresses_no_more_when_nobody_has_read_so_for_long(void **state)
{
	struct deflater *d;
	struct tail *t;
	uint64_t seq;

	(void)state;
	assert_int_equal(deflater_new(&d), OK);
	assert_int_equal(tail_new(&t, 0, 100000, d), OK);
	tail_compress(t);
	append_long(t, NULL);
	for (seq = tail_seq(t); seq < 10000 && read_all(t, seq - 1, &inflater, ALL) == 1; seq = tail_seq(t))
		append_long(t, NULL);
	assert_true(seq > 2 && seq < 10000);
	assert_int_equal(read_all(t, tail_floor(t), &inflater, ALL), 0);
	assert_int_equal(read_all(t, tail_floor(t), &anyone, ALL), 0);
	tail_compress(t);
	append_long(t, NULL);
	assert_int_equal(read_all(t, tail_seq(t) - 1, &inflater, ALL), 1);
	tail_forget(t, tail_seq(t) + 5);
	append_long(t, NULL);
	assert_int_equal(read_all(t, tail_seq(t) - 1, &inflater, ALL), 1);
	tail_free(&t);
	deflater_free(&d);
}

/* A message that is kept plain, between two stretches that are compressed, ends the first: what was kept compressed before
 * it must not be found again. */
static void what_was_compressed_before_a_pause_goes_out_as_it_is(void **state)
{
	struct deflater *d;
	struct tail *t;

	(void)state;
	assert_int_equal(deflater_new(&d), OK);
	assert_int_equal(tail_new(&t, 0, 1000000, d), OK);
	tail_compress(t);
	do
		append_long(t, NULL);
	while (read_all(t, tail_seq(t) - 1, &inflater, ALL) == 1);
	assert_int_equal(tail_floor(t), 0);
	tail_compress(t);
	append_long(t, NULL);
	append_long(t, NULL);
	assert_int_equal(read_all(t, 0, &inflater, 1), 2);
	assert_int_equal(read_all(t, 0, &inflater, ALL), 0);
	assert_int_equal(read_all(t, tail_seq(t) - 2, &inflater, ALL), 2);
	tail_free(&t);
	deflater_free(&d);
}

static void both_forms_together_stay_within_its_maximum(void **state)
{
	struct deflater *d;
	struct tail *t;

	(void)state;
	assert_int_equal(deflater_new(&d), OK);
	assert_int_equal(tail_new(&t, 0, 1000, d), OK);
	for (unsigned n = 0; n < 1000; n++) {
		if (n % 400 == 100)
			tail_compress(t);
		append_long(t, n % 7 == 0 ? "ann" : NULL);
		assert_true(after(t, tail_floor(t), &ann, ALL).e == OK);
		read_all(t, tail_floor(t), &inflater, n % 3 ? ALL : 50);
		assert_true((tail_seq(t) - tail_floor(t)) * 80 <= 1000);
	}
	tail_free(&t);
	deflater_free(&d);
}

static void a_delivery_is_as_old_as_the_first_message_in_it_where_that_is_known(void **state)
{
	struct tail *t = tail_from(0, 1000);
	const struct reader r = {0};
	struct delivery d;

	(void)state;
	for (int64_t seq = 1; seq <= 3; seq++) {
		struct stored_message m = {
			.seq = (uint64_t)seq, .body = {"{}", 2}, .stored_ms = seq == 3 ? 0 : NOW_MS - 100 / seq};

		assert_int_equal(tail_append(t, &m), OK);
	}
	assert_int_equal(tail_after(t, 0, &r, NOW_MS, 1000, &d), OK);
	assert_int_equal(d.age_ms, 100);
	assert_int_equal(tail_after(t, 1, &r, NOW_MS, 1000, &d), OK);
	assert_int_equal(d.age_ms, 50);
	assert_int_equal(tail_after(t, 2, &r, NOW_MS, 1000, &d), OK);
	assert_true(d.count == 1 && d.age_ms < 0);
	assert_int_equal(tail_after(t, 3, &r, NOW_MS, 1000, &d), OK);
	assert_true(d.age_ms < 0);
	tail_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makes_a_whole_frame_with_the_seq_in_front),
		cmocka_unit_test(a_delivery_is_as_old_as_the_first_message_in_it_where_that_is_known),
		cmocka_unit_test(an_empty_one_has_nothing_after_its_seq_and_has_evicted_what_is_before),
		cmocka_unit_test(evicts_the_oldest_when_one_byte_too_many_comes),
		cmocka_unit_test(keeps_a_frame_larger_than_its_maximum_alone_until_the_next),
		cmocka_unit_test(gives_as_many_whole_frames_as_fit_and_one_at_least),
		cmocka_unit_test(keeps_the_order_of_thousands_while_its_circle_grows_from_any_offset),
		cmocka_unit_test(its_memory_stays_within_twice_its_maximum_and_its_entries),
		cmocka_unit_test(gives_a_message_for_one_user_to_that_user_alone_and_by_itself),
		cmocka_unit_test(leaves_out_the_one_connection_that_is_excluded),
		cmocka_unit_test(a_limit_of_both_kinds_needs_both),
		cmocka_unit_test(an_expired_message_has_a_seq_but_is_nothing_that_is_sent),
		cmocka_unit_test(passes_over_a_message_from_when_it_expires),
		cmocka_unit_test(gives_the_text_of_one_message_to_who_may_have_it),
		cmocka_unit_test(passes_over_types_that_the_reader_does_not_want_and_says_so),
		cmocka_unit_test(forgets_all_with_its_memory_and_goes_on_behind_a_hole),
		cmocka_unit_test(is_a_list_of_messages_that_loses_its_oldest),
		cmocka_unit_test(compresses_from_when_on_somebody_inflates_and_the_others_get_it_as_it_is),
		cmocka_unit_test(compresses_no_more_when_nobody_has_read_so_for_long),
		cmocka_unit_test(what_was_compressed_before_a_pause_goes_out_as_it_is),
		cmocka_unit_test(both_forms_together_stay_within_its_maximum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
