#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "domain/fanout/hub.h"
#include "domain/websocket/frame.h"
#include "tests/unit/frames.h"

#define TAIL_MAX 4000
#define TAILS_MAX 1000000
#define NOW_MS 1000

struct client {
	struct subscriber subscriber; /* first: the hub gives it back */
	uint64_t got[512];	      /* seqs, in the order written; the model uses `have` instead */
	size_t got_count;
	unsigned writes;
	bool keeps;	/* what it takes last has not left for its peer yet */
	unsigned takes; /* writes until it is full; each write takes one */
	bool behind;
	uint64_t have;
	unsigned ephemerals;
	bool in_model;
};

static struct hub *hub;
static unsigned delivered_calls;
static uint64_t delivered_to;
static unsigned private_calls;
static uint64_t private_seq;
static uint64_t messages_seen;

static struct client *client_of(struct subscriber *s)
{
	return (struct client *)s;
}

static void model_got(struct client *c, uint64_t seq);

static struct subscriber *announced; /* who comes next, where nobody leaves and there is one topic */
static unsigned announcements;

static void on_soon(void *context, struct subscriber *s)
{
	(void)context;
	assert_int_not_equal(s->state, SUB_OUT);
	announced = s;
	announcements++;
}

static enum hub_written on_write(void *context, struct subscriber *s, const struct delivery *d)
{
	struct client *c = client_of(s);
	struct span bytes = d->bytes, payload;
	unsigned n = 0;

	(void)context;
	assert_true(c->takes > 0); /* it was full, and nobody said that it can be written to */
	assert_true(bytes.len > 0);
	while (frames_next(&bytes, &payload)) {
		n++;
		if (payload.len == 2 || payload.bytes[0] == 0) {
			c->ephemerals++;
			continue;
		}
		if (c->in_model)
			model_got(c, frames_seq(payload));
		else
			c->got[c->got_count++] = frames_seq(payload);
	}
	assert_int_equal(n, d->count);
	messages_seen += n;
	c->writes++;
	return --c->takes > 0 ? HUB_SENT : c->keeps ? HUB_KEPT : HUB_SENT_LAST;
}

static void on_behind(void *context, struct subscriber *s)
{
	(void)context;
	assert_int_equal(s->state, SUB_OUT);
	assert_true(s->seq < tail_floor(s->topic->tail));
	assert_false(client_of(s)->behind);
	client_of(s)->behind = true;
}

static void on_delivered(void *context, struct hub_topic *t)
{
	(void)context;
	assert_true(t->delivered_seq > delivered_to || t->id != 1);
	delivered_calls++;
	if (t->id == 1)
		delivered_to = t->delivered_seq;
}

static void on_delivered_private(void *context, struct hub_topic *t, uint64_t seq)
{
	(void)context;
	(void)t;
	private_calls++;
	private_seq = seq;
}

static const char *revoked_user;
static uint64_t revoked_from;

static void on_revoked(void *context, struct hub_topic *t, const char *user_id, uint64_t seq)
{
	assert_ptr_equal(context, &revoked_from);
	assert_int_equal(t->revoked_seq, seq);
	revoked_user = user_id;
	revoked_from = seq;
}

static int64_t now_us;
static unsigned fan_outs, fan_out_size;
static int64_t fan_out_us;

/* A microsecond each time that somebody looks. */
static int64_t clock_us(void *context)
{
	(void)context;
	return ++now_us;
}

static void on_fanned_out(void *context, unsigned subscribers, int64_t took_us)
{
	(void)context;
	fan_outs++;
	fan_out_size = subscribers;
	fan_out_us = took_us;
}

static const struct hub_ops ops = {on_write,   on_soon,	 on_behind,    on_delivered, on_delivered_private,
				   on_revoked, clock_us, on_fanned_out};

static struct hub_topic *hold(int64_t id, uint64_t seq)
{
	struct hub_topic *t = NULL;

	assert_int_equal(hub_hold(hub, &t, id, "diagnosis/1", "abc", seq, 0), OK);
	return t;
}

static void start_with(size_t tail_max_bytes, size_t tails_max_bytes)
{
	assert_int_equal(hub_new(&hub, &ops, &revoked_from, tail_max_bytes, tails_max_bytes, NULL), OK);
	delivered_calls = private_calls = announcements = 0;
	delivered_to = private_seq = messages_seen = 0;
	fan_outs = 0;
}

static int start(void **state)
{
	(void)state;
	start_with(TAIL_MAX, TAILS_MAX);
	return 0;
}

static int end(void **state)
{
	(void)state;
	assert_int_equal(hub_topics(hub), 0);
	hub_free(&hub);
	assert_null(hub);
	hub_free(&hub);
	return 0;
}

static void join(struct client *c, struct hub_topic *t, uint64_t seq)
{
	*c = (struct client){.subscriber = {.topic = t, .seq = seq}, .takes = 1000000};
	hub_join(hub, &c->subscriber);
}

static void append_for(struct hub_topic *t, uint64_t seq, const char *to_user)
{
	struct stored_message m = {.seq = seq, .body = {"{\"a\":1}", 7}, .to_user = to_user};

	assert_int_equal(hub_append(hub, t, &m), OK);
}

static void append(struct hub_topic *t)
{
	append_for(t, tail_seq(t->tail) + 1, NULL);
}

static void append_of_size(struct hub_topic *t, size_t size)
{
	static char body[200000];
	struct stored_message m = {.seq = tail_seq(t->tail) + 1, .body = {body, size}};

	memset(body, 'x', size);
	memcpy(body, "{\"a\":\"", 6);
	memcpy(body + size - 2, "\"}", 2);
	assert_int_equal(hub_append(hub, t, &m), OK);
}

static void assert_got(const struct client *c, uint64_t from, uint64_t to)
{
	assert_int_equal(c->got_count, to - from + 1);
	for (size_t i = 0; i < c->got_count; i++)
		assert_true(c->got[i] == from + i);
}

/* Every subscriber is where its state says, and a topic with somebody due has its turn. */
static void check_lists(const struct hub_topic *t, size_t expected)
{
	const struct subscriber *s;
	uint64_t seq = tail_seq(t->tail);
	size_t count = 0;

	TAILQ_FOREACH (s, &t->current, link) {
		count++;
		assert_int_equal(s->state, SUB_READY);
		assert_true(s->seq == seq && s->ephemeral == t->ephemerals.last);
	}
	TAILQ_FOREACH (s, &t->due, link) {
		count++;
		assert_int_equal(s->state, SUB_READY);
		assert_true(s->seq < seq || s->ephemeral < t->ephemerals.last);
	}
	TAILQ_FOREACH (s, &t->waiting, link) {
		count++;
		assert_int_equal(s->state, SUB_WAITING);
	}
	TAILQ_FOREACH (s, &t->ahead, link) {
		count++;
		assert_int_equal(s->state, SUB_AHEAD);
		assert_true(s->seq > seq);
	}
	assert_int_equal(count, expected);
	assert_true(TAILQ_EMPTY(&t->due) || t->busy.on);
}

static void holds_a_topic_until_its_last_holder_lets_go(void **state)
{
	struct hub_topic *first = hold(1, 7), *second = hold(1, 99), *other = NULL;

	(void)state;
	assert_ptr_equal(first, second);
	assert_int_equal(tail_seq(first->tail), 7);
	assert_int_equal(hub_hold(hub, &other, 1, "diagnosis/1", "other", 7, 0), ERR_CONFLICT);
	hub_let_go(hub, first);
	assert_ptr_equal(hub_find(hub, 1), first);
	assert_ptr_equal(hub_first(hub), first);
	assert_null(hub_next(first));
	hub_let_go(hub, first);
	assert_null(hub_find(hub, 1));
	assert_null(hub_first(hub));
	assert_int_equal(hub_hold(hub, &other, 1, "diagnosis/1", "other", 3, 2), OK);
	assert_string_equal(other->epoch, "other");
	assert_int_equal(other->delivered_seq, 2);
	hub_let_go(hub, other);
}

static void sends_each_message_to_all_who_listen_in_order_and_once(void **state)
{
	struct hub_topic *t = hold(1, 0);
	static struct client clients[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		join(&clients[i], t, 0);
	for (unsigned i = 0; i < 5; i++) {
		append(t);
		while (hub_run(hub, 7, NOW_MS)) {
			check_lists(t, ARRAY_LEN(clients));
			assert_ptr_equal(announced, TAILQ_FIRST(&t->due));
		}
	}
	assert_int_equal(announcements, 5 * (ARRAY_LEN(clients) - 1));
	for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
		assert_got(&clients[i], 1, 5);
		assert_int_equal(clients[i].writes, 5);
		hub_leave(&clients[i].subscriber);
	}
	assert_int_equal(messages_seen, 500);
	assert_false(hub_run(hub, 100, NOW_MS));
	hub_let_go(hub, t);
}

static void tells_how_long_it_took_from_the_first_of_those_who_were_due_to_the_last(void **state)
{
	struct hub_topic *t = hold(1, 0);
	static struct client clients[200];

	(void)state;
	join(&clients[0], t, 0);
	append(t);
	assert_false(hub_run(hub, 1000, NOW_MS));
	assert_int_equal(fan_outs, 1);
	assert_int_equal(fan_out_size, 1);
	assert_int_equal(fan_out_us, 0); /* nobody looked at the clock */
	for (size_t i = 1; i < ARRAY_LEN(clients); i++)
		join(&clients[i], t, 1);
	append(t);
	/* In slices, and turns of a topic: the first look is before the first of them, the next behind the last. */
	while (hub_run(hub, 70, NOW_MS))
		assert_int_equal(fan_outs, 1);
	assert_int_equal(fan_outs, 2);
	assert_int_equal(fan_out_size, ARRAY_LEN(clients));
	assert_int_equal(fan_out_us, 1);
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		hub_leave(&clients[i].subscriber);
	hub_let_go(hub, t);
}

static void writes_at_most_so_often_in_a_slice(void **state)
{
	struct hub_topic *t = hold(1, 0);
	static struct client clients[200];
	unsigned writes = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		join(&clients[i], t, 0);
	append(t);
	assert_true(hub_is_busy(hub));
	assert_true(hub_run(hub, 150, NOW_MS));
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		writes += clients[i].writes;
	assert_int_equal(writes, 150);
	assert_false(hub_run(hub, 50, NOW_MS));
	for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
		assert_int_equal(clients[i].writes, 1);
		hub_leave(&clients[i].subscriber);
	}
	hub_let_go(hub, t);
}

static void a_topic_with_thousands_does_not_delay_one_with_one(void **state)
{
	struct hub_topic *large = hold(1, 0), *small = hold(2, 0);
	static struct client many[3000];
	struct client one;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		join(&many[i], large, 0);
	join(&one, small, 0);
	append(large);
	append(small);
	assert_true(hub_run(hub, 128, NOW_MS));
	assert_int_equal(one.writes, 1);
	while (hub_run(hub, 128, NOW_MS))
		;
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		assert_got(&many[i], 1, 1);
		hub_leave(&many[i].subscriber);
	}
	hub_leave(&one.subscriber);
	hub_let_go(hub, small);
	hub_let_go(hub, large);
}

static void who_is_full_waits_and_gets_what_has_gathered_in_one_write(void **state)
{
	struct hub_topic *t = hold(1, 0);
	struct client c;

	(void)state;
	join(&c, t, 0);
	c.takes = 1;
	append(t);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(c.subscriber.state, SUB_WAITING);
	for (unsigned i = 0; i < 10; i++)
		append(t);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(c.writes, 1);
	c.takes = 2;
	hub_writable(hub, &c.subscriber, NOW_MS);
	assert_int_equal(c.writes, 2);
	assert_got(&c, 1, 11);
	assert_int_equal(c.subscriber.state, SUB_READY);
	hub_writable(hub, &c.subscriber, NOW_MS);
	assert_int_equal(c.writes, 2);
	check_lists(t, 1);
	hub_leave(&c.subscriber);
	hub_let_go(hub, t);
}

static void who_can_be_written_to_and_lacks_nothing_is_current_again(void **state)
{
	struct hub_topic *t = hold(1, 0);
	struct client c;

	(void)state;
	join(&c, t, 0);
	hub_wait(hub, &c.subscriber);
	assert_int_equal(c.subscriber.state, SUB_WAITING);
	hub_writable(hub, &c.subscriber, NOW_MS);
	assert_int_equal(c.subscriber.state, SUB_READY);
	assert_ptr_equal(TAILQ_FIRST(&t->current), &c.subscriber);
	hub_leave(&c.subscriber);
	hub_wait(hub, &c.subscriber);
	hub_writable(hub, &c.subscriber, NOW_MS);
	assert_int_equal(c.subscriber.state, SUB_OUT);
	hub_let_go(hub, t);
}

/* What is more than a write takes stays due: whoever called hub_writable() must run the hub. */
static void a_backlog_larger_than_a_write_is_left_to_the_next_run(void **state)
{
	struct hub_topic *t;
	struct client c;

	(void)state;
	hub_free(&hub);
	start_with(1 << 20, TAILS_MAX << 1);
	t = hold(1, 0);
	join(&c, t, 0);
	c.takes = 1;
	append(t);
	assert_false(hub_run(hub, 10, NOW_MS));
	for (unsigned i = 0; i < 3; i++)
		append_of_size(t, 40000);
	c.takes = 100;
	hub_writable(hub, &c.subscriber, NOW_MS);
	assert_got(&c, 1, 2);
	assert_ptr_equal(TAILQ_FIRST(&t->due), &c.subscriber);
	assert_true(hub_run(hub, 1, NOW_MS));
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_got(&c, 1, 4);
	hub_leave(&c.subscriber);
	hub_let_go(hub, t);
}

static void who_waits_too_long_is_told_that_it_is_behind(void **state)
{
	struct hub_topic *t = hold(1, 0);
	struct client c;

	(void)state;
	join(&c, t, 0);
	hub_wait(hub, &c.subscriber);
	for (unsigned i = 0; i < 3; i++)
		append_of_size(t, 1500);
	assert_false(c.behind);
	hub_writable(hub, &c.subscriber, NOW_MS);
	assert_true(c.behind);
	assert_int_equal(c.writes, 0);
	assert_int_equal(c.subscriber.seq, 0);
	check_lists(t, 0);
	/* The database has brought it to where the tail begins. */
	c.behind = false;
	c.subscriber.seq = tail_floor(t->tail);
	hub_join(hub, &c.subscriber);
	assert_false(c.behind);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_got(&c, 2, 3);
	hub_leave(&c.subscriber);
	hub_let_go(hub, t);
}

static void who_joins_below_the_tail_is_behind_at_once(void **state)
{
	struct hub_topic *t = hold(1, 10);
	struct client c;

	(void)state;
	join(&c, t, 9);
	assert_true(c.behind);
	assert_int_equal(c.subscriber.state, SUB_OUT);
	hub_let_go(hub, t);
}

static void who_is_ahead_of_the_tail_gets_nothing_twice(void **state)
{
	struct hub_topic *t = hold(1, 0);
	struct client c;

	(void)state;
	join(&c, t, 3);
	assert_int_equal(c.subscriber.state, SUB_AHEAD);
	for (unsigned i = 0; i < 2; i++) {
		append(t);
		check_lists(t, 1);
		assert_int_equal(c.subscriber.state, SUB_AHEAD);
	}
	append(t);
	assert_ptr_equal(TAILQ_FIRST(&t->current), &c.subscriber);
	append(t);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_got(&c, 4, 4);
	hub_leave(&c.subscriber);
	hub_let_go(hub, t);
}

static void a_hole_puts_behind_who_lacks_what_is_gone_and_only_them(void **state)
{
	struct hub_topic *t = hold(1, 0);
	struct client current, waiting, before, at, beyond;

	(void)state;
	append(t);
	join(&current, t, 1);
	join(&waiting, t, 1);
	hub_wait(hub, &waiting.subscriber);
	join(&before, t, 8);
	join(&at, t, 9);
	join(&beyond, t, 12);
	append_for(t, 10, NULL);
	check_lists(t, 5);
	while (hub_run(hub, 1, NOW_MS))
		;
	assert_true(current.behind);
	assert_true(before.behind);
	assert_false(waiting.behind);
	hub_writable(hub, &waiting.subscriber, NOW_MS);
	assert_true(waiting.behind);
	assert_false(at.behind);
	assert_got(&at, 10, 10);
	assert_int_equal(beyond.subscriber.state, SUB_AHEAD);
	hub_leave(&at.subscriber);
	hub_leave(&beyond.subscriber);
	hub_let_go(hub, t);
}

static void can_be_left_in_every_state_and_twice(void **state)
{
	struct hub_topic *t = hold(1, 5);
	struct client c[5];

	(void)state;
	append(t);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		join(&c[i], t, i == 1 ? 5 : i == 3 ? 100 : 6);
	hub_wait(hub, &c[2].subscriber);
	check_lists(t, 5);
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		hub_leave(&c[i].subscriber);
		assert_int_equal(c[i].subscriber.state, SUB_OUT);
		check_lists(t, 4 - i);
		hub_leave(&c[i].subscriber);
	}
	/* It is still among the busy; nobody is written to. */
	hub_run(hub, 10, NOW_MS);
	assert_int_equal(c[1].writes, 0);
	assert_false(hub_run(hub, 10, NOW_MS));
	hub_let_go(hub, t);
}

static void a_topic_can_be_let_go_while_busy_and_rung(void **state)
{
	struct hub_topic *t = hold(1, 0), *other = hold(2, 0);
	struct hub_topic *rung[4];
	struct client c;

	(void)state;
	join(&c, t, 0);
	append(t);
	hub_ring(hub, 1);
	hub_ring(hub, 2);
	hub_leave(&c.subscriber);
	hub_let_go(hub, t);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(hub_take_rung(hub, rung, 4), 1);
	assert_ptr_equal(rung[0], other);
	hub_let_go(hub, other);
}

static void a_topic_rung_twice_is_fetched_once_and_again_when_rung_meanwhile(void **state)
{
	struct hub_topic *t[3], *rung[4];

	(void)state;
	for (int64_t i = 0; i < 3; i++)
		t[i] = hold(i + 1, (uint64_t)i * 10);
	hub_ring(hub, 77);
	hub_ring(hub, 3);
	hub_ring(hub, 1);
	hub_ring(hub, 3);
	hub_ring(hub, 2);
	assert_int_equal(hub_take_rung(hub, rung, 2), 2);
	assert_ptr_equal(rung[0], t[2]);
	assert_ptr_equal(rung[1], t[0]);
	hub_ring(hub, 3);
	assert_int_equal(hub_take_rung(hub, rung, 4), 2);
	assert_ptr_equal(rung[0], t[1]);
	assert_ptr_equal(rung[1], t[2]);
	assert_int_equal(hub_take_rung(hub, rung, 4), 0);
	for (size_t i = 0; i < 3; i++)
		hub_let_go(hub, t[i]);
}

static void tells_that_a_topic_has_been_delivered_when_the_first_client_has_it(void **state)
{
	struct hub_topic *t = hold(1, 0);
	struct client a, b;

	(void)state;
	append(t);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(delivered_calls, 0);
	join(&a, t, 1);
	join(&b, t, 1);
	append(t);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(delivered_calls, 1);
	assert_int_equal(t->delivered_seq, 2);
	hub_delivered(hub, t, 2, 0);
	assert_int_equal(delivered_calls, 1);
	hub_delivered(hub, t, 5, 0);
	assert_int_equal(delivered_calls, 2);
	hub_leave(&a.subscriber);
	hub_leave(&b.subscriber);
	hub_let_go(hub, t);
}

static void append_type(struct hub_topic *t, const char *body)
{
	struct stored_message m = {.seq = tail_seq(t->tail) + 1, .body = {body, strlen(body)}};

	assert_int_equal(hub_append(hub, t, &m), OK);
	assert_false(hub_run(hub, 10, NOW_MS));
}

/* What it left out counted as delivered: nobody ever got that from the queue. */
static void what_a_client_does_not_want_is_not_delivered_by_it(void **state)
{
	static const char a[] = "{\"type\":\"a\"}", b[] = "{\"type\":\"b\"}";
	struct hub_topic *t = hold(1, 0);
	struct message_types *types = NULL;
	struct client picky, other;

	(void)state;
	assert_int_equal(message_types_of_list(&types, (struct span){"a", 1}), OK);
	join(&picky, t, 0);
	picky.subscriber.reader.types = types;
	append_type(t, a);
	assert_int_equal(t->delivered_seq, 1);
	append_type(t, b);
	assert_int_equal(picky.subscriber.seq, 2);
	append_type(t, a);
	assert_int_equal(picky.got_count, 2);
	assert_int_equal(t->delivered_seq, 1);
	assert_true(subscriber_confirm(&picky.subscriber, 3));
	assert_int_equal(t->confirmed.seq, 1);
	/* Somebody else takes it, and confirms: from then on this one counts as before. */
	join(&other, t, 1);
	append_type(t, a);
	assert_int_equal(t->delivered_seq, 4);
	assert_false(subscriber_confirm(&picky.subscriber, 4));
	assert_true(subscriber_confirm(&other.subscriber, 4));
	hub_leave(&other.subscriber);
	append_type(t, a);
	assert_int_equal(t->delivered_seq, 5);
	append_type(t, b);
	append_type(t, b);
	append_type(t, a);
	assert_int_equal(t->delivered_seq, 5);
	assert_int_equal(picky.got_count, 5);
	hub_leave(&picky.subscriber);
	hub_let_go(hub, t);
	message_types_unref(&types);
}

/* What nobody was sent would be confirmed by whoever has a cursor behind it, or says so. */
static void no_more_is_confirmed_than_was_sent(void **state)
{
	struct hub_topic *t = hold(1, 0);
	struct client c;

	(void)state;
	join(&c, t, 0);
	append_type(t, "{\"type\":\"a\"}");
	assert_true(subscriber_confirm(&c.subscriber, 7));
	assert_int_equal(t->confirmed.seq, 1);
	assert_false(subscriber_confirm(&c.subscriber, 1));
	c.subscriber.seq = 3;
	assert_false(subscriber_confirm(&c.subscriber, 3));
	c.subscriber.seq = 1;
	hub_leave(&c.subscriber);
	hub_let_go(hub, t);
}

/* It was delivered once it had been written, also where the write had failed, or the rest of it never left. */
static void what_a_write_keeps_is_not_delivered_until_its_owner_says_so(void **state)
{
	struct hub_topic *t = hold(1, 0);
	struct client c;

	(void)state;
	join(&c, t, 0);
	c.subscriber.reader.user_id = "ann";
	c.keeps = true;
	c.takes = 1;
	append_for(t, 1, "ann");
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(c.writes, 1);
	assert_int_equal(c.subscriber.seq, 1);
	assert_int_equal(c.subscriber.state, SUB_WAITING);
	assert_int_equal(delivered_calls + private_calls, 0);
	hub_delivered(hub, t, 1, 1);
	assert_int_equal(delivered_to, 1);
	assert_int_equal(private_seq, 1);
	hub_leave(&c.subscriber);
	hub_let_go(hub, t);
}

static void what_expires_before_its_turn_is_not_written(void **state)
{
	struct stored_message m = {.seq = 1, .body = {"{\"a\":1}", 7}, .expires_ms = NOW_MS};
	struct hub_topic *t = hold(1, 0);
	struct client c;

	(void)state;
	join(&c, t, 0);
	assert_int_equal(hub_append(hub, t, &m), OK);
	append(t);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_got(&c, 2, 2);
	hub_leave(&c.subscriber);
	hub_let_go(hub, t);
}

static void a_private_message_reaches_its_user_alone_and_is_told(void **state)
{
	struct hub_topic *t = hold(1, 0);
	struct client ann, bob;

	(void)state;
	join(&ann, t, 0);
	ann.subscriber.reader.user_id = "ann";
	join(&bob, t, 0);
	bob.subscriber.reader.user_id = "bob";
	append(t);
	append_for(t, 2, "ann");
	append_for(t, 3, "carla");
	append(t);
	while (hub_run(hub, 1, NOW_MS))
		check_lists(t, 2);
	assert_int_equal(ann.got_count, 3);
	assert_int_equal(ann.got[1], 2);
	assert_int_equal(bob.got_count, 2);
	assert_int_equal(bob.got[1], 4);
	assert_int_equal(private_calls, 1);
	assert_int_equal(private_seq, 2);
	assert_int_equal(bob.subscriber.seq, 4);
	hub_leave(&ann.subscriber);
	hub_leave(&bob.subscriber);
	hub_let_go(hub, t);
}

static void what_is_for_nobody_here_is_passed_over_without_a_write(void **state)
{
	struct hub_topic *t = hold(1, 0);
	struct client c;

	(void)state;
	join(&c, t, 0);
	append_for(t, 1, "carla");
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(c.writes, 0);
	assert_int_equal(delivered_calls, 0);
	assert_int_equal(c.subscriber.seq, 1);
	check_lists(t, 1);
	hub_leave(&c.subscriber);
	hub_let_go(hub, t);
}

/* Newcomers were refused until the last of those had gone who were on the old numbering. */
static void a_retired_topic_makes_way_for_the_new_one_under_its_id(void **state)
{
	struct hub_topic *old = hold(1, 5), *new = NULL, *again = NULL, *rung;
	struct client c;

	(void)state;
	join(&c, old, 5);
	append(old);
	hub_ring(hub, 1);
	assert_int_equal(hub_hold(hub, &new, 1, "diagnosis/1", "other", 2, 0), ERR_CONFLICT);
	hub_retire(hub, old);
	hub_retire(hub, old);
	assert_null(hub_find(hub, 1));
	assert_int_equal(hub_take_rung(hub, &rung, 1), 0);
	assert_int_equal(hub_hold(hub, &new, 1, "diagnosis/1", "other", 2, 0), OK);
	assert_int_equal(hub_hold(hub, &again, 1, "diagnosis/1", "other", 2, 0), OK);
	assert_ptr_equal(new, again);
	assert_int_not_equal(new->serial, old->serial);
	assert_ptr_not_equal(new, old);
	assert_int_equal(tail_seq(new->tail), 2);
	/* What the old one has in memory its clients get still. */
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_got(&c, 6, 6);
	hub_leave(&c.subscriber);
	hub_let_go(hub, old);
	assert_ptr_equal(hub_find(hub, 1), new);
	hub_let_go(hub, new);
	hub_let_go(hub, again);
}

/* The bound is a topic's: what waits beyond it, for who is due, goes by, the oldest first. */
static void of_ephemeral_frames_that_wait_the_newest_are_kept_within_the_bound(void **state)
{
	enum { SIZE = EPHEMERALS_MAX_BYTES / 4 };
	static char frame[SIZE] = "\x81\x7f\0\0\0\0\0\x03\xff\xf6";
	struct hub_topic *t = hold(1, 0);
	struct client c;

	(void)state;
	assert_int_equal(SIZE - 10, 0x3fff6);
	join(&c, t, 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(hub_ephemeral(hub, t, (struct span){frame, SIZE}, NULL, NULL), OK);
	assert_int_equal(t->ephemerals.bytes, EPHEMERALS_MAX_BYTES);
	assert_int_equal(hub_ephemeral(hub, t, (struct span){frame, SIZE}, NULL, NULL), OK);
	assert_int_equal(t->ephemerals.bytes, EPHEMERALS_MAX_BYTES);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(c.writes, 4);
	assert_int_equal(t->ephemerals.bytes, 0);
	hub_leave(&c.subscriber);
	hub_let_go(hub, t);
}

static void an_ephemeral_frame_goes_to_who_can_take_it_now_and_may_have_it(void **state)
{
	static const struct span frame = {"\x81\x02{}", 4};
	struct hub_topic *t = hold(1, 0);
	struct client current, due, waiting, full, excluded, ending;

	(void)state;
	join(&due, t, 0);
	append(t);
	join(&current, t, 1);
	join(&waiting, t, 1);
	hub_wait(hub, &waiting.subscriber);
	join(&full, t, 1);
	full.takes = 1;
	join(&excluded, t, 1);
	excluded.subscriber.reader.connection_id.bytes[0] = 9;
	join(&ending, t, 1);
	ending.subscriber.ends_seq = 3;
	assert_int_equal(hub_ephemeral(hub, t, frame, NULL, &excluded.subscriber.reader.connection_id), OK);
	check_lists(t, 6);
	assert_int_equal(current.ephemerals, 0);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(current.ephemerals, 1);
	assert_int_equal(due.ephemerals, 1);
	assert_int_equal(waiting.ephemerals, 0);
	assert_int_equal(full.ephemerals, 1);
	assert_int_equal(full.subscriber.state, SUB_WAITING);
	assert_int_equal(excluded.ephemerals, 0);
	assert_int_equal(ending.ephemerals, 0);
	assert_int_equal(ending.subscriber.state, SUB_READY);
	/* One of them is the stored message that was due. */
	assert_int_equal(messages_seen, 4);
	assert_got(&due, 1, 1);
	assert_int_equal(hub_ephemeral(hub, t, frame, "ann", NULL), OK);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(messages_seen, 4);
	/* What it could not take as it came has gone by. */
	hub_writable(hub, &waiting.subscriber, NOW_MS);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_int_equal(waiting.ephemerals, 0);
	check_lists(t, 6);
	hub_leave(&ending.subscriber);
	hub_leave(&current.subscriber);
	hub_leave(&due.subscriber);
	hub_leave(&waiting.subscriber);
	hub_leave(&full.subscriber);
	hub_leave(&excluded.subscriber);
	hub_let_go(hub, t);
}

static void forgets_the_longest_unused_tails_when_all_together_are_too_large(void **state)
{
	struct hub_topic *t[4];
	size_t sum = 0;

	(void)state;
	hub_free(&hub);
	start_with(10000, 12000);
	for (int64_t i = 0; i < 4; i++)
		t[i] = hold(i + 1, 0);
	for (size_t i = 0; i < 4; i++)
		append_of_size(t[i], 3000);
	/* Each is 3 kB of frame and a few hundred bytes of entries: the fourth drives out the first. */
	assert_int_equal(tail_size(t[0]->tail), 0);
	assert_int_equal(tail_floor(t[0]->tail), 1);
	for (size_t i = 1; i < 4; i++)
		assert_int_equal(tail_floor(t[i]->tail), 0);
	append_of_size(t[1], 10);
	append_of_size(t[0], 3000);
	/* The second has just been used. */
	assert_int_equal(tail_floor(t[1]->tail), 0);
	assert_int_equal(tail_floor(t[2]->tail), 1);
	for (size_t i = 0; i < 4; i++)
		sum += tail_size(t[i]->tail);
	assert_true(sum <= 12000);
	for (size_t i = 0; i < 4; i++)
		hub_let_go(hub, t[i]);
}

static void keeps_the_tail_that_somebody_is_being_sent_from(void **state)
{
	struct hub_topic *t[2] = {NULL};
	struct client c;

	(void)state;
	hub_free(&hub);
	start_with(10000, 4000);
	t[0] = hold(1, 0);
	t[1] = hold(2, 0);
	join(&c, t[0], 0);
	append_of_size(t[0], 3000);
	append_of_size(t[1], 3000);
	assert_false(hub_run(hub, 10, NOW_MS));
	assert_false(c.behind);
	assert_got(&c, 1, 1);
	append_of_size(t[1], 100);
	assert_int_equal(tail_size(t[0]->tail), 0);
	hub_leave(&c.subscriber);
	hub_let_go(hub, t[0]);
	hub_let_go(hub, t[1]);
}

/* ---- against a naive model: a database, and clients that come, choke, and go */

#define MODEL_TOPICS 3
#define MODEL_CLIENTS 24
#define MODEL_STEPS 40000

enum message_kind { FOR_ALL, FOR_ANN, NOT_FOR_LAST, EXPIRED };

struct model_topic {
	struct hub_topic *topic; /* NULL: nobody holds it */
	unsigned holders;
	uint64_t seq;	/* of the database */
	uint64_t floor; /* of the database: what is up to here is kept nowhere */
	enum message_kind kinds[MODEL_STEPS + 1];
	size_t sizes[MODEL_STEPS + 1];
};

static struct model_topic model[MODEL_TOPICS];
static struct client model_clients[MODEL_CLIENTS];
static const struct uuid last_id = {.bytes = {MODEL_CLIENTS - 1}};

static bool model_may_have(const struct client *c, const struct model_topic *m, uint64_t seq)
{
	switch (m->kinds[seq]) {
	case FOR_ALL:
		return true;
	case FOR_ANN:
		return c->subscriber.reader.user_id != NULL;
	case NOT_FOR_LAST:
		return !uuid_equal(&c->subscriber.reader.connection_id, &last_id);
	case EXPIRED:
		return false;
	}
	return false;
}

static struct model_topic *model_of(const struct client *c)
{
	return &model[c->subscriber.topic->id - 1];
}

/* Between what it had and this there is nothing that it should have got. */
static void model_got(struct client *c, uint64_t seq)
{
	const struct model_topic *m = model_of(c);

	assert_true(seq > c->have);
	assert_true(model_may_have(c, m, seq));
	while (++c->have < seq)
		assert_false(model_may_have(c, m, c->have));
}

static void model_fetch(struct model_topic *m)
{
	static char body[4000];
	uint64_t seq = MAX(tail_seq(m->topic->tail), m->floor) + 1;
	struct stored_message message = {.seq = seq};

	if (seq > m->seq)
		return;
	memset(body, 'x', m->sizes[seq]);
	memcpy(body, "{\"a\":\"", 6);
	memcpy(body + m->sizes[seq] - 2, "\"}", 2);
	if (m->kinds[seq] != EXPIRED)
		message.body = (struct span){body, m->sizes[seq]};
	if (m->kinds[seq] == FOR_ANN)
		message.to_user = "ann";
	if (m->kinds[seq] == NOT_FOR_LAST)
		message.exclude = &last_id;
	assert_int_equal(hub_append(hub, m->topic, &message), OK);
}

/* From the database: up to anywhere, which may be more than the tail has. */
static void model_catch_up(struct client *c, uint64_t *random)
{
	struct model_topic *m = model_of(c);
	uint64_t from = MAX(MAX(c->have, m->floor), tail_floor(c->subscriber.topic->tail));

	c->have = c->subscriber.seq = from > m->seq ? from : from + pick(random, m->seq - from + 1);
	c->behind = false;
	hub_join(hub, &c->subscriber);
	assert_false(c->behind);
}

static void model_leave(struct client *c)
{
	struct model_topic *m = model_of(c);

	hub_leave(&c->subscriber);
	hub_let_go(hub, m->topic);
	c->subscriber.topic = NULL;
	if (--m->holders == 0)
		m->topic = NULL;
}

static void model_arrive(struct client *c, size_t index, uint64_t *random)
{
	struct model_topic *m = &model[pick(random, MODEL_TOPICS)];
	uint64_t seq = m->seq - pick(random, MIN(m->seq, 20) + 1);

	m->topic = hold(m - model + 1, m->seq);
	m->holders++;
	*c = (struct client){.in_model = true, .takes = 1 + (unsigned)pick(random, 20), .have = seq};
	c->subscriber = (struct subscriber){.topic = m->topic, .seq = seq};
	c->subscriber.reader.connection_id.bytes[0] = (uint8_t)index;
	c->subscriber.reader.user_id = index % 4 == 0 ? "ann" : NULL;
	hub_join(hub, &c->subscriber);
}

static void model_client_step(struct client *c, size_t index, uint64_t *random)
{
	if (!c->subscriber.topic) {
		model_arrive(c, index, random);
	} else if (c->behind) {
		model_catch_up(c, random);
	} else if (c->takes == 0 && pick(random, 4) > 0) {
		c->takes = 1 + (unsigned)pick(random, 5);
		hub_writable(hub, &c->subscriber, NOW_MS);
	} else if (pick(random, 20) == 0) {
		model_leave(c);
	} else if (pick(random, 20) == 0 && c->subscriber.state == SUB_READY) {
		c->takes = 0;
		hub_wait(hub, &c->subscriber);
	}
}

static void model_topic_step(struct model_topic *m, uint64_t *random)
{
	static const struct span frame = {"\x81\x02{}", 4};
	size_t what = pick(random, 100);

	if (what < 40) {
		m->seq++;
		m->kinds[m->seq] = pick(random, 3) ? FOR_ALL : (enum message_kind)pick(random, 4);
		m->sizes[m->seq] = 10 + pick(random, pick(random, 10) ? 200 : 3900);
	} else if (what < 85 && m->topic) {
		for (size_t i = pick(random, 4); i > 0; i--)
			model_fetch(m);
	} else if (what < 88) {
		m->floor = m->seq - MIN(m->seq - m->floor, pick(random, 10));
	} else if (what < 90 && m->topic) {
		assert_int_equal(hub_ephemeral(hub, m->topic, frame, pick(random, 2) ? "ann" : NULL,
					       pick(random, 2) ? &last_id : NULL),
				 OK);
	}
}

static void model_check(void)
{
	size_t joined[MODEL_TOPICS] = {0}, tails = 0;

	for (size_t i = 0; i < MODEL_CLIENTS; i++) {
		const struct client *c = &model_clients[i];

		if (!c->subscriber.topic)
			continue;
		assert_int_equal(c->behind, c->subscriber.state == SUB_OUT);
		assert_true(c->subscriber.state != SUB_WAITING || c->takes == 0);
		assert_true(c->subscriber.seq >= c->have);
		for (uint64_t s = c->have + 1; s <= c->subscriber.seq; s++)
			assert_false(model_may_have(c, model_of(c), s));
		joined[c->subscriber.topic->id - 1] += !c->behind;
	}
	for (size_t i = 0; i < MODEL_TOPICS; i++) {
		if (!model[i].topic)
			continue;
		check_lists(model[i].topic, joined[i]);
		tails += tail_size(model[i].topic->tail);
	}
	assert_true(tails < 3 * 2 * TAIL_MAX + 3 * 8192);
}

static void everyone_gets_every_message_once_in_order_or_is_told_to_be_behind(void **state)
{
	uint64_t random = 6455;

	(void)state;
	hub_free(&hub);
	start_with(TAIL_MAX, 2 * TAIL_MAX);
	for (unsigned step = 0; step < MODEL_STEPS; step++) {
		size_t who = pick(&random, MODEL_CLIENTS);

		model_client_step(&model_clients[who], who, &random);
		model_topic_step(&model[pick(&random, MODEL_TOPICS)], &random);
		if (pick(&random, 3) == 0)
			hub_run(hub, (unsigned)pick(&random, 12), NOW_MS);
		model_check();
	}
	/* Then all is quiet: whoever is here has everything. */
	for (size_t i = 0; i < MODEL_TOPICS; i++) {
		for (unsigned n = 0; model[i].topic && n < MODEL_STEPS; n++)
			model_fetch(&model[i]);
	}
	for (unsigned turn = 0; turn < 1000; turn++) {
		for (size_t i = 0; i < MODEL_CLIENTS; i++) {
			struct client *c = &model_clients[i];

			if (c->subscriber.topic && c->behind)
				model_catch_up(c, &random);
			c->takes = 1000;
			if (c->subscriber.topic)
				hub_writable(hub, &c->subscriber, NOW_MS);
		}
		while (hub_run(hub, 100, NOW_MS))
			;
	}
	model_check();
	for (size_t i = 0; i < MODEL_CLIENTS; i++) {
		struct client *c = &model_clients[i];

		if (!c->subscriber.topic)
			continue;
		assert_true(c->subscriber.seq >= model_of(c)->seq);
		assert_int_equal(c->subscriber.state, SUB_READY);
		model_leave(c);
	}
}

static void the_owner_is_told_of_a_right_that_ends(void **state)
{
	struct hub_topic *t = hold(1, 5);

	(void)state;
	hub_revoke(hub, t, "anna", 6);
	assert_string_equal(revoked_user, "anna");
	assert_int_equal(revoked_from, 6);
	hub_let_go(hub, t);
}

static unsigned compressed_writes;

static enum hub_written on_write_of_any(void *context, struct subscriber *s, const struct delivery *d)
{
	(void)context;
	(void)s;
	compressed_writes += ((uint8_t)d->bytes.bytes[0] & FRAME_COMPRESSED) != 0;
	return HUB_SENT;
}

static void who_inflates_is_written_to_compressed(void **state)
{
	static const struct hub_ops any_ops = {on_write_of_any,	     on_soon,	 on_behind, on_delivered,
					       on_delivered_private, on_revoked, NULL,	    NULL};
	struct deflater *deflater = NULL;
	struct client a, b;
	struct hub_topic *t;

	(void)state;
	hub_free(&hub);
	assert_int_equal(deflater_new(&deflater), OK);
	assert_int_equal(hub_new(&hub, &any_ops, NULL, TAIL_MAX, TAILS_MAX, deflater), OK);
	t = hold(1, 0);
	compressed_writes = 0;
	join(&a, t, 0);
	append_of_size(t, 200);
	hub_run(hub, 10, NOW_MS);
	assert_int_equal(compressed_writes, 0);
	b = (struct client){.subscriber = {.topic = t, .seq = 1, .reader = {.inflates = true}}};
	hub_join(hub, &b.subscriber);
	append_of_size(t, 200);
	hub_run(hub, 10, NOW_MS);
	assert_int_equal(compressed_writes, 1);
	hub_leave(&a.subscriber);
	hub_leave(&b.subscriber);
	hub_let_go(hub, t);
	deflater_free(&deflater);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		TEST(holds_a_topic_until_its_last_holder_lets_go),
		TEST(sends_each_message_to_all_who_listen_in_order_and_once),
		TEST(tells_how_long_it_took_from_the_first_of_those_who_were_due_to_the_last),
		TEST(writes_at_most_so_often_in_a_slice),
		TEST(a_topic_with_thousands_does_not_delay_one_with_one),
		TEST(who_is_full_waits_and_gets_what_has_gathered_in_one_write),
		TEST(who_can_be_written_to_and_lacks_nothing_is_current_again),
		TEST(a_backlog_larger_than_a_write_is_left_to_the_next_run),
		TEST(who_waits_too_long_is_told_that_it_is_behind),
		TEST(who_joins_below_the_tail_is_behind_at_once),
		TEST(who_is_ahead_of_the_tail_gets_nothing_twice),
		TEST(a_hole_puts_behind_who_lacks_what_is_gone_and_only_them),
		TEST(can_be_left_in_every_state_and_twice),
		TEST(a_topic_can_be_let_go_while_busy_and_rung),
		TEST(a_topic_rung_twice_is_fetched_once_and_again_when_rung_meanwhile),
		TEST(tells_that_a_topic_has_been_delivered_when_the_first_client_has_it),
		TEST(what_a_client_does_not_want_is_not_delivered_by_it),
		TEST(no_more_is_confirmed_than_was_sent),
		TEST(what_a_write_keeps_is_not_delivered_until_its_owner_says_so),
		TEST(what_expires_before_its_turn_is_not_written),
		TEST(a_private_message_reaches_its_user_alone_and_is_told),
		TEST(what_is_for_nobody_here_is_passed_over_without_a_write),
		TEST(a_retired_topic_makes_way_for_the_new_one_under_its_id),
		TEST(of_ephemeral_frames_that_wait_the_newest_are_kept_within_the_bound),
		TEST(an_ephemeral_frame_goes_to_who_can_take_it_now_and_may_have_it),
		TEST(forgets_the_longest_unused_tails_when_all_together_are_too_large),
		TEST(keeps_the_tail_that_somebody_is_being_sent_from),
		TEST(the_owner_is_told_of_a_right_that_ends),
		TEST(who_inflates_is_written_to_compressed),
		TEST(everyone_gets_every_message_once_in_order_or_is_told_to_be_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
