#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "ws/session/outlet.h"

/* A socket that takes so many bytes; -1: it is broken. */
static struct {
	ssize_t room;
	char got[200000];
	size_t got_len;
	int64_t queued; /* of those, not sent yet */
} peer;

static ssize_t peer_write(void *socket, struct span bytes, bool *full)
{
	size_t take;

	(void)socket;
	if (peer.room < 0)
		return -1;
	take = MIN(bytes.len, (size_t)peer.room);
	memcpy(peer.got + peer.got_len, bytes.bytes, take);
	peer.got_len += take;
	peer.room -= (ssize_t)take;
	*full = take < bytes.len;
	return (ssize_t)take;
}

static int64_t peer_queued(void *socket)
{
	(void)socket;
	return peer.queued;
}

/* Messages end with a semicolon. */
static size_t whole_after(struct span bytes, size_t whole, size_t at)
{
	while (whole < at || (whole > 0 && bytes.bytes[whole - 1] != ';'))
		whole++;
	return whole;
}

static const struct transport transport = {.write = peer_write, .queued = peer_queued};
static const struct encoder encoder = {.whole_after = whole_after};
static struct outlet outlet;

static int start(void **state)
{
	(void)state;
	memset(&peer, 0, sizeof(peer));
	outlet = (struct outlet){.transport = &transport, .encoder = &encoder};
	return 0;
}

static int end(void **state)
{
	(void)state;
	outlet_free(&outlet);
	return 0;
}

static void write_text(const char *text)
{
	outlet_write(&outlet, (struct span){text, strlen(text)});
}

static bool add_text(const char *text)
{
	struct buf bytes = BUF_EMPTY;

	buf_add_text(&bytes, text);
	return outlet_add(&outlet, &bytes);
}

static void assert_got(const char *text)
{
	assert_int_equal(peer.got_len, strlen(text));
	assert_memory_equal(peer.got, text, peer.got_len);
}

static void what_the_socket_takes_is_not_kept(void **state)
{
	(void)state;
	peer.room = 100;
	write_text("one;two;");
	assert_got("one;two;");
	assert_true(outlet_is_clear(&outlet));
	assert_true(outlet_all_has_left(&outlet));
	assert_int_equal(outlet_bytes(&outlet), 0);
}

static void the_rest_waits_and_goes_out_in_order(void **state)
{
	(void)state;
	peer.room = 6;
	write_text("one;two;");
	assert_false(outlet_is_clear(&outlet));
	assert_true(outlet.choked_ms > 0);
	assert_false(add_text("three;"));
	outlet.choked_ms = 0;
	peer.room = 100;
	outlet_pump(&outlet, false);
	assert_got("one;two;three;");
	assert_true(outlet_is_clear(&outlet));
	assert_int_equal(outlet_bytes(&outlet), 0);
}

static void nothing_is_given_to_a_socket_that_is_full(void **state)
{
	(void)state;
	write_text("one;");
	peer.room = 100;
	outlet_pump(&outlet, false);
	assert_got("");
	assert_int_equal(outlet.out.len - outlet.at, 4);
}

static void a_socket_that_fails_is_broken_and_nothing_has_left(void **state)
{
	(void)state;
	peer.room = -1;
	write_text("one;");
	assert_true(outlet.broken);
	assert_false(outlet_is_clear(&outlet));
	assert_false(outlet_all_has_left(&outlet));
}

static void a_message_that_has_begun_is_kept_whole_and_the_others_are_forgotten(void **state)
{
	(void)state;
	peer.room = 6;
	write_text("one;two;three;");
	outlet_drop_unbegun(&outlet);
	outlet.choked_ms = 0;
	peer.room = 100;
	outlet_pump(&outlet, false);
	assert_got("one;two;");
}

static void between_two_messages_all_that_waits_is_forgotten(void **state)
{
	(void)state;
	peer.room = 4;
	write_text("one;two;");
	assert_false(add_text("three;"));
	outlet_drop_unbegun(&outlet);
	outlet.choked_ms = 0;
	peer.room = 100;
	outlet_pump(&outlet, false);
	assert_got("one;");
	assert_true(outlet_is_clear(&outlet));
}

static void a_page_that_goes_out_in_many_pieces_is_forgotten_as_it_goes(void **state)
{
	struct buf page = BUF_EMPTY;
	size_t most;

	(void)state;
	for (int i = 0; i < 20000; i++)
		buf_add_text(&page, "message;");
	most = page.len;
	assert_true(outlet_add(&outlet, &page));
	for (int i = 0; i < 10; i++) {
		peer.room = 16001;
		outlet.choked_ms = 0;
		outlet_pump(&outlet, i == 0);
		if (i == 8)
			assert_true(outlet_bytes(&outlet) < most / 3);
	}
	assert_int_equal(peer.got_len, most);
	for (size_t i = 0; i < most; i++)
		assert_int_equal(peer.got[i], "message;"[i % 8]);
	assert_true(outlet_is_clear(&outlet));
}

static void a_client_takes_bytes_where_enough_of_them_leave_the_kernel(void **state)
{
	int64_t now_ms = clock_monotonic_ms() + 1000;
	static char much[100000];

	(void)state;
	memset(much, ';', sizeof(much));
	peer.room = 50000;
	peer.queued = 50000;
	outlet_write(&outlet, (struct span){much, sizeof(much)});
	assert_false(outlet_look(&outlet, now_ms));
	peer.queued = 50000 - 16383;
	assert_false(outlet_look(&outlet, now_ms));
	peer.queued = 50000 - 16384;
	assert_true(outlet_look(&outlet, now_ms));
	assert_int_equal(outlet.choked_ms, now_ms);
	assert_false(outlet_look(&outlet, now_ms + 1));
}

static void what_is_held_has_not_left_before_the_end_is_given(void **state)
{
	(void)state;
	buf_add_text(&outlet.held, "a poll's message;");
	assert_true(outlet_is_clear(&outlet));
	assert_false(outlet_all_has_left(&outlet));
	buf_add_text(&outlet.out, "reply;");
	outlet_end(&outlet);
	assert_int_equal(outlet.held.len, 0);
	peer.room = 100;
	outlet_pump(&outlet, true);
	assert_got("reply;");
	assert_true(outlet_all_has_left(&outlet));
}

static void an_end_that_found_no_memory_breaks_it(void **state)
{
	(void)state;
	outlet.out.failed = true;
	outlet_end(&outlet);
	assert_true(outlet.broken);
	assert_true(outlet.ended);
	assert_false(outlet_all_has_left(&outlet));
}

static void one_that_is_abandoned_keeps_no_memory(void **state)
{
	(void)state;
	write_text("one;");
	buf_add_text(&outlet.held, "two;");
	buf_add_text(&outlet.marks, "three");
	outlet_abandon(&outlet);
	assert_int_equal(outlet_bytes(&outlet), 0);
	assert_true(outlet.broken);
	assert_true(outlet.ended);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_the_socket_takes_is_not_kept),
		TEST(the_rest_waits_and_goes_out_in_order),
		TEST(nothing_is_given_to_a_socket_that_is_full),
		TEST(a_socket_that_fails_is_broken_and_nothing_has_left),
		TEST(a_message_that_has_begun_is_kept_whole_and_the_others_are_forgotten),
		TEST(between_two_messages_all_that_waits_is_forgotten),
		TEST(a_page_that_goes_out_in_many_pieces_is_forgotten_as_it_goes),
		TEST(a_client_takes_bytes_where_enough_of_them_leave_the_kernel),
		TEST(what_is_held_has_not_left_before_the_end_is_given),
		TEST(an_end_that_found_no_memory_breaks_it),
		TEST(one_that_is_abandoned_keeps_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
