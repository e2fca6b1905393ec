#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/defs.h"
#include "domain/websocket/frame.h"

/* RFC 6455, section 5.2: the shortest form must be used. */
static void a_header_has_the_shortest_length_there_is(void **state)
{
	static const struct {
		uint64_t payload_bytes;
		size_t len;
		const char *bytes;
	} cases[] = {
		{0, 2, "\x81\x00"},
		{1, 2, "\x81\x01"},
		{125, 2, "\x81\x7d"},
		{126, 4, "\x81\x7e\x00\x7e"},
		{127, 4, "\x81\x7e\x00\x7f"},
		{256, 4, "\x81\x7e\x01\x00"},
		{65535, 4, "\x81\x7e\xff\xff"},
		{65536, 10, "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"},
		{UINT64_C(0x0102030405060708), 10, "\x81\x7f\x01\x02\x03\x04\x05\x06\x07\x08"},
	};
	uint8_t out[FRAME_HEADER_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(frame_text_header(out, cases[i].payload_bytes), cases[i].len);
		assert_memory_equal(out, cases[i].bytes, cases[i].len);
	}
}

static void a_close_frame_has_its_code_and_reason(void **state)
{
	uint8_t out[FRAME_CLOSE_MAX];

	(void)state;
	assert_int_equal(frame_close(out, 1008, "no"), 6);
	assert_memory_equal(out, "\x88\x04\x03\xf0no", 6);
	assert_int_equal(frame_close(out, 1000, ""), 4);
	assert_memory_equal(out, "\x88\x02\x03\xe8", 4);
	assert_int_equal(frame_close(out, 0, ""), 2);
	assert_memory_equal(out, "\x88\x00", 2);
}

static void the_longest_reason_fits(void **state)
{
	uint8_t out[FRAME_CLOSE_MAX];
	char reason[124];

	(void)state;
	memset(reason, 'x', 123);
	reason[123] = '\0';
	assert_int_equal(frame_close(out, 1011, reason), FRAME_CLOSE_MAX);
	assert_int_equal(out[1], 125); /* the most that a control frame may have */
	assert_memory_equal(out + 4, reason, 123);
}

static void the_ping_is_a_whole_frame(void **state)
{
	struct buf out = BUF_EMPTY;

	(void)state;
	frame_add_ping(&out, (struct span){"17", 2});
	assert_int_equal(out.len, 4);
	assert_memory_equal(out.bytes,
			    "\x89\x02"
			    "17",
			    4);
	buf_free(&out);
}

static void a_text_that_fits_is_one_frame_and_a_longer_one_comes_in_fragments(void **state)
{
	static char text[2 * FRAME_FRAGMENT_MAX + 1];
	struct buf out = BUF_EMPTY;

	(void)state;
	frame_add_fragments(&out, (struct span){text, FRAME_FRAGMENT_MAX});
	assert_int_equal(out.len, 4 + FRAME_FRAGMENT_MAX);
	assert_memory_equal(out.bytes, "\x81\x7e\x40\x00", 4);
	buf_clear(&out);
	frame_add_fragments(&out, (struct span){text, sizeof(text)});
	assert_int_equal(out.len, 2 * (4 + FRAME_FRAGMENT_MAX) + 2 + 1);
	assert_memory_equal(out.bytes, "\x01\x7e\x40\x00", 4);
	assert_memory_equal(out.bytes + 4 + FRAME_FRAGMENT_MAX, "\x00\x7e\x40\x00", 4);
	assert_memory_equal(out.bytes + 2 * (4 + FRAME_FRAGMENT_MAX), "\x80\x01", 2);
	buf_clear(&out);
	frame_add_fragments(&out, (struct span){"", 0});
	assert_memory_equal(out.bytes, "\x81\x00", 2);
	buf_free(&out);
}

static void the_end_of_a_frame_is_found_from_any_place_in_it(void **state)
{
	static const char frames[] = "\x81\x03"
				     "abc"
				     "\x89\x00"
				     "\x81\x01"
				     "d";
	const struct span all = {frames, sizeof(frames) - 1};

	(void)state;
	assert_int_equal(frame_end_after(all, 0, 0), 0);
	for (size_t at = 1; at <= 5; at++)
		assert_int_equal(frame_end_after(all, 0, at), 5);
	assert_int_equal(frame_end_after(all, 0, 6), 7);
	assert_int_equal(frame_end_after(all, 5, 6), 7);
	assert_int_equal(frame_end_after(all, 7, 7), 7);
	assert_int_equal(frame_end_after(all, 7, 3), 7);
	assert_int_equal(frame_end_after(all, 0, 10), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_has_the_shortest_length_there_is),
		cmocka_unit_test(a_close_frame_has_its_code_and_reason),
		cmocka_unit_test(the_longest_reason_fits),
		cmocka_unit_test(the_ping_is_a_whole_frame),
		cmocka_unit_test(a_text_that_fits_is_one_frame_and_a_longer_one_comes_in_fragments),
		cmocka_unit_test(the_end_of_a_frame_is_found_from_any_place_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
